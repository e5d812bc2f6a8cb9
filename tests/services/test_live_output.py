"""What a running step prints and how far it is, as somebody far away sees it, on real services."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from penstock.contracts.states import RunState
from penstock.deploy.remote.client import HttpClient
from penstock.sdk.pipelines import Pipeline
from tests.end_to_end.user_project import until
from tests.servers.cluster import Cluster
from tests.servers.service import PROGRAM, Service

TALKING = """
    import time
    from pathlib import Path

    from penstock.sdk import current_run, pipeline, step

    def wait(path):
        while not Path(path).exists():
            time.sleep(0.01)

    @step(cache=False)
    def talk(folder: str) -> int:
        print("first line", flush=True)
        current_run().progress(3, 10, "three of ten")
        wait(f"{folder}/go")
        print("second line")
        return 1

    @pipeline
    def flow(folder: str) -> int:
        return talk(folder)
"""


def test_output_and_progress_are_seen_before_the_step_ends(
    cluster: Cluster, written: Callable[[str], Pipeline[..., object]], tmp_path: Path
) -> None:
    run = cluster.submit(written(TALKING), folder=str(tmp_path))
    shown = tmp_path / "shown"
    with shown.open("wb") as output:
        command = [*PROGRAM, "logs", run.run_id, "talk", "-f"]
        environment = {**Service.surroundings(), **cluster.settings, "PENSTOCK_ENGINE": "http", "HOME": str(tmp_path)}
        until(lambda: any(view.attempts for view in cluster.engine.step_runs(run.run_id, "talk")))
        following = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            until(lambda: "first line" in shown.read_text(), 30)
            assert "second line" not in shown.read_text()
            assert isinstance(cluster.engine, HttpClient)
            client = cluster.engine
            until(lambda: client.run(run.run_id).steps[0].progress == (3.0, 10.0, "three of ten"), 30)

            (tmp_path / "go").touch()
            assert following.wait(60) == 0
        finally:
            following.kill()
            following.wait()

    assert shown.read_text() == "first line\nsecond line\n"
    assert run.wait().state is RunState.SUCCEEDED


def test_what_a_cancelled_step_printed_is_kept(cluster: Cluster, written: Callable[[str], Pipeline[..., object]], tmp_path: Path) -> None:
    run = cluster.submit(written(TALKING), folder=str(tmp_path))
    engine = cluster.engine
    until(lambda: engine.run(run.run_id).steps[0].progress is not None, 30)

    run.cancel()

    assert run.wait().state is RunState.CANCELLED
    until(lambda: engine.step_runs(run.run_id, "talk")[0].attempts[-1].log is not None)
    log = engine.step_runs(run.run_id, "talk")[0].attempts[-1].log
    assert log is not None
    assert engine.local(log).read_text() == "first line\n"
