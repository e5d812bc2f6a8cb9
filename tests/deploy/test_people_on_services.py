"""Approvals and named artifacts of services, asked for over HTTP: by the client's areas, and by command."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from penstock.contracts.approvals import DecisionRequest
from penstock.contracts.errors import InvalidInput
from penstock.contracts.named_artifacts import RegisterRequest, reference
from penstock.deploy.areas.approvals import Approvals
from penstock.deploy.areas.registry import Registry
from penstock.deploy.cli.application import app
from penstock.deploy.remote.client import HttpClient, connect
from penstock.sdk import File
from penstock.sdk.runs.state_home import using_engine
from tests.deploy.served_engine import TOKEN, ServedEngine, served, until
from tests.sdk.written_project import WrittenProject

PIPELINE = """
from penstock.sdk import File, approval, pipeline, register, step, when

@step
def train(n: int) -> File:
    with open("model.txt", "w") as file:
        file.write(f"model {n}")
    return File("model.txt")

@step
def read(model: File) -> str:
    return model.path.read_text()

@pipeline
def gated(n: int) -> str:
    model = train(n)
    with when(approval(f"Deploy {n}?", evidence=[model]).approved):
        register(model, "churn", alias="prod")
        text = read(model)
    return text

@pipeline
def reading(model: File) -> str:
    return read(model)
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    with served(tmp_path_factory.mktemp("services") / "state") as engine:
        yield engine


@pytest.fixture
def client(engine: ServedEngine, private_home: Path) -> Iterator[HttpClient]:
    client = connect(private_home, engine.url, TOKEN)
    yield client
    client.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenProject]:
    project = WrittenProject(tmp_path / "project", monkeypatch)
    project.write("people_flow.py", PIPELINE)
    yield project
    project.forget()


def test_a_run_of_services_is_approved_and_its_artifact_used(
    client: HttpClient, engine: ServedEngine, project: WrittenProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow: Any = import_module("people_flow")

    approvals, registry = Approvals(client.connection), Registry(client.connection)
    with using_engine(client):
        run = flow.gated.submit(n=7)
        until(lambda: bool(approvals.list()))
        (view,) = approvals.list(run.run_id)
        assert (view.question, list(view.evidence), view.index) == ("Deploy 7?", ["train"], ())
        assert approvals.find("last") == view
        with pytest.raises(InvalidInput, match="no step 'nothing'"):
            approvals.find(run.run_id, "nothing")
        for name, value in {"ENGINE": "http", "API_URL": engine.url, "API_TOKEN": TOKEN}.items():
            monkeypatch.setenv(f"PENSTOCK_{name}", value)
        said = CliRunner().invoke(app, ["approve", run.view.name, "-m", "go"])
        assert (said.exit_code, "is approved by bootstrap" in said.output) == (0, True), said.output
        assert run.result() == "model 7"
        with pytest.raises(InvalidInput, match="was approved by bootstrap already: go"):
            approvals.decide(view, DecisionRequest(approved=False))
        assert approvals.list() == []

        assert flow.reading.run(File("artifact://churn@prod")).result() == "model 7"
    assert [(one.name, one.aliases) for one in registry.names()] == [("churn", {"prod": 1})]
    assert registry.version(reference("churn")) == registry.version(reference("churn@prod")) == registry.versions("churn")[0]
    assert registry.set_alias("churn", "best", 1).aliases == ("best", "prod")
    registry.drop_alias("churn", "best")
    made = registry.register("other", RegisterRequest(run=run.run_id, step="train", alias="first"))
    assert (made.reference, made.digest) == ("artifact://other@1", registry.version(reference("churn@1")).digest)
    with pytest.raises(InvalidInput, match="did you mean 'churn'"):
        registry.versions("churm")
