"""What outlives a runner that is killed: the checkpoint of its step, found on another host."""

from collections.abc import Callable
from pathlib import Path

from penstock.contracts.states import RunState
from penstock.sdk.pipelines import Pipeline
from tests.end_to_end.user_project import until
from tests.servers.cluster import Cluster

TRAINING = """
    import time
    from pathlib import Path

    from penstock.sdk import current_run, pipeline, step

    @step(pool="wharf")
    def train(folder: str) -> int:
        run = current_run()
        saved = run.checkpoint.load()
        if saved is not None:
            return int(saved.read_text())
        Path("epoch").write_text("7")
        run.checkpoint.save("epoch")
        print("seven epochs", flush=True)
        Path(folder, "saved").touch()
        while True:
            time.sleep(0.05)

    @pipeline
    def flow(folder: str) -> int:
        return train(folder)
"""


def test_the_next_attempt_on_another_host_goes_on_where_a_killed_one_was(
    cluster: Cluster, written: Callable[[str], Pipeline[..., int]], tmp_path: Path
) -> None:
    cluster.command("topology", "apply", "--pool", "wharf")
    runners = [cluster.add_runner({"wharf": 1}, PENSTOCK_CACHE_FOLDER=str(tmp_path / f"host-{number}")) for number in (1, 2)]
    try:
        cluster.wait_ready()
        run = cluster.submit(written(TRAINING), folder=str(tmp_path))
        until(lambda: (tmp_path / "saved").exists())
        [victim] = [runner.name for runner in runners if runner.metric("penstock_attempts_running")]
        cluster.kill(victim)
        run.wait()
        assert run.state is RunState.SUCCEEDED
        assert run.result() == 7
        attempts = cluster.engine.step_runs(run.run_id, "train")[0].attempts
        assert [attempt.state for attempt in attempts] in (["superseded", "succeeded"], ["lost", "succeeded"])
        assert attempts[-1].runner in {runner.name for runner in runners} - {victim}
    finally:
        for runner in runners:
            runner.close()
            del cluster.services[runner.name]
