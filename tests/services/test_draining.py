"""Services that are asked to stop: they finish what they began, take nothing new, and lose nothing."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.contracts.messages import DrainRunner, encode
from penstock.contracts.states import AttemptState, RunState
from penstock.sdk.pipelines import Pipeline
from penstock.transport.bus import Envelope, Exchange
from tests.end_to_end.user_project import until
from tests.servers.cluster import Cluster
from tests.servers.service import Service

Written = Callable[[str], Pipeline[..., Any]]

PATIENT = """
    import time
    from pathlib import Path

    from penstock.sdk import each, pipeline, step

    @step(pool="{pool}")
    def patient(number: int, folder: str) -> int:
        (Path(folder) / f"began-{{number}}").touch()
        while not (Path(folder) / "go").exists():
            time.sleep(0.02)
        return number

    @pipeline
    def flow(folder: str, numbers: list[int]) -> int:
        patient(each(numbers), folder)
        return 1
"""


def begun(folder: Path) -> int:
    return len(list(folder.glob("began-*")))


def executing(cluster: Cluster) -> list[Service]:
    return [
        service for name, service in cluster.services.items() if name.startswith("runner") and service.metric("penstock_attempts_running")
    ]


def signalled(service: Service, number: signal.Signals) -> bool:
    """Whether it has ended by it."""
    service.signal(number)
    return not service.is_running


def test_a_runner_that_is_stopped_finishes_what_it_began(cluster: Cluster, written: Written, tmp_path: Path) -> None:
    run = cluster.submit(written(PATIENT.format(pool="gpu")), folder=str(tmp_path), numbers=[1])
    until(lambda: begun(tmp_path) == 1)
    [runner] = executing(cluster)

    runner.signal(signal.SIGTERM)
    until(lambda: runner.page("/readyz") == (503, "draining\n"))
    assert runner.page("/livez")[0] == 200
    (tmp_path / "go").touch()

    assert run.wait().state is RunState.SUCCEEDED
    assert runner.wait() == 0
    assert [len(step_run.attempts) for step_run in run["patient"]] == [1]


def test_a_runner_drains_when_a_message_asks(cluster: Cluster, written: Written, tmp_path: Path) -> None:
    run = cluster.submit(written(PATIENT.format(pool="cpu")), folder=str(tmp_path), numbers=[1, 2])
    until(lambda: begun(tmp_path) == 2)
    runner, other = executing(cluster)

    cluster.client.send(Envelope(exchange=Exchange.CONTROL, body=encode(DrainRunner(runner=runner.name))))
    until(lambda: runner.page("/readyz")[0] == 503)
    (tmp_path / "go").touch()

    assert run.wait().state is RunState.SUCCEEDED
    assert runner.wait() == 0
    assert other.is_running


def test_a_second_signal_ends_a_runner_at_once(cluster: Cluster, written: Written, tmp_path: Path) -> None:
    run = cluster.submit(written(PATIENT.format(pool="gpu")), folder=str(tmp_path), numbers=[3])
    until(lambda: begun(tmp_path) == 1)
    [runner] = executing(cluster)
    runner.signal(signal.SIGTERM)
    until(lambda: runner.page("/readyz")[0] == 503)
    # Two signals that are close together are taken for one.
    until(lambda: signalled(runner, signal.SIGTERM))

    (tmp_path / "go").touch()

    assert runner.wait() == 128 + signal.SIGTERM
    runner.launch()
    assert run.wait().state is RunState.SUCCEEDED
    first, second = run["patient"][0].view.attempts
    # Its order was still the broker's when the step was young, and was delivered again at once; later it is lost.
    assert AttemptState(first.state) in (AttemptState.SUPERSEDED, AttemptState.LOST)
    assert AttemptState(second.state) is AttemptState.SUCCEEDED


def test_a_coordinator_that_is_stopped_loses_nothing(cluster: Cluster, written: Written, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    run = cluster.submit(written(PATIENT.format(pool="cpu")), folder=str(tmp_path), numbers=list(range(10)))
    coordinator = cluster.services["coordinator-1"]

    coordinator.signal(signal.SIGTERM)

    assert coordinator.wait() == 0
    assert run.wait().state is RunState.SUCCEEDED
    assert [len(step_run.attempts) for step_run in run["patient"]] == [1] * 10
