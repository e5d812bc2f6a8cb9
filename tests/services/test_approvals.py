"""Runs that wait for people while the services that drive them come and go."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.contracts.approvals import DecisionRequest
from penstock.contracts.states import RunState
from penstock.deploy.areas.approvals import Approvals
from penstock.deploy.areas.registry import Registry
from penstock.deploy.remote.client import HttpClient
from penstock.sdk import File
from penstock.sdk.pipelines import Pipeline
from tests.end_to_end.user_project import until
from tests.servers.cluster import Cluster

Written = Callable[[str], Pipeline[..., Any]]

ASKING = """
    from penstock.sdk import Decision, File, approval, pipeline, register, step

    @step
    def train(model: File) -> File:
        return model

    @step(cache=False)
    def told(model: File, decision: Decision) -> str:
        return f"{model.path.read_text()}, approved by {decision.by}"

    @pipeline
    def flow(model: File) -> str:
        trained = train(model)
        register(trained, "waiting", alias="asked")
        return told(trained, approval("Go on?", evidence=[trained]))
"""


def test_a_run_waits_while_no_coordinator_is_there_and_an_answer_meanwhile_counts(
    cluster: Cluster, written: Written, tmp_path: Path
) -> None:
    model = tmp_path / "model.txt"
    model.write_text("weights")
    client = cluster.engine
    assert isinstance(client, HttpClient)
    approvals = Approvals(client.connection)
    run = cluster.submit(written(ASKING), model=File(model))
    until(lambda: bool(approvals.list(run.run_id)))
    assert [count.attempts for count in run.view.steps if count.name == "approval"] == [0]

    coordinators = [name for name in cluster.services if name.startswith("coordinator")]
    for name in coordinators:
        cluster.kill(name)
    approvals.decide(approvals.find(run.run_id), DecisionRequest(approved=True))
    for name in coordinators:
        cluster.start(name)

    assert run.wait().state == RunState.SUCCEEDED.value
    assert run.result().startswith("weights, approved by ")
    (version,) = Registry(client.connection).versions("waiting")
    assert (version.version, version.aliases, version.run) == (1, ("asked",), run.view.name)
