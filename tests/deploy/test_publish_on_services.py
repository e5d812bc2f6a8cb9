"""Publishing to services from Python, and starting what is published from a system that knows nothing of Python."""

import json
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from itertools import takewhile
from pathlib import Path

import httpx
import pytest

from penstock.contracts.errors import InvalidInput
from penstock.deploy.remote.client import HttpClient, connect
from penstock.sdk.runs.state_home import using_engine
from tests.deploy.processes import penstock, started
from tests.deploy.served_engine import TOKEN, ServedEngine, free_port, served, until

FLOW = """
    from penstock.sdk import Cron, OnEvent, pipeline, step

    @step
    def double(x: int) -> int:
        return 2 * x

    @pipeline(triggers=[OnEvent("day.closed", parameters={"x": "event.data.rows"})])
    def remote_flow(x: int = 1) -> int:
        return double(x)

    @pipeline(triggers=[Cron("never")])
    def misfit(x: int = 1) -> int:
        return double(x)
"""

TAKING = """
    from penstock.sdk import component, pipeline

    @pipeline
    def taking(x: int = 4) -> int:
        return component("double@2.0")(x)
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    with served(tmp_path_factory.mktemp("services") / "state") as engine:
        yield engine


@pytest.fixture
def client(engine: ServedEngine, private_home: Path) -> Iterator[HttpClient]:
    client = connect(private_home, engine.url, TOKEN)
    with using_engine(client):
        yield client
    client.close()


@pytest.fixture
def flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    (tmp_path / "flows_to_publish.py").write_text(textwrap.dedent(FLOW))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.modules.pop("flows_to_publish", None)
    return import_module("flows_to_publish")


def test_what_python_publishes_anything_can_run(engine: ServedEngine, client: HttpClient, flows: object) -> None:
    flow = getattr(flows, "remote_flow")  # noqa: B009 -- a module that the test wrote
    version = flow.publish(triggers="on")
    assert (version.version, version.is_default, version.triggers) == ("1", True, ("remote_flow",))
    assert flow.publish() == version

    headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "invoice-4711"}
    address = f"{engine.url}/v1/pipelines/remote_flow/runs"
    answers = [httpx.post(address, json={"parameters": {"x": 21}}, headers=headers) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 200]
    first, again = (answer.json() for answer in answers)
    assert first["run_id"] == again["run_id"]
    last = list(client.follow(first["run_id"]))[-1]
    assert (last.state.value, last.outputs["result"].json_value()) == ("succeeded", 42)  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue]  # small JSON
    assert last.tags["version"] == "1"


@pytest.mark.usefixtures("client")
def test_a_trigger_that_can_not_work_is_refused_by_the_services(flows: object) -> None:
    with pytest.raises(InvalidInput, match=r"triggers\[0\]: trigger 'misfit': .*never"):
        getattr(flows, "misfit").publish()  # noqa: B009 -- as above


@pytest.mark.usefixtures("client")
def test_a_step_is_published_as_a_component(flows: object, client: HttpClient) -> None:
    step = getattr(flows, "double")  # noqa: B009 -- as above
    assert (step.publish("1.0").version, step.publish("1.0").kind) == ("1.0", "step")
    assert client.component("double").parameters == {"x": "int"}


def test_on_a_laptop_dev_serves_the_triggers_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(textwrap.dedent(FLOW))
    port = free_port()
    with started(tmp_path, "dev", "flow.py:remote_flow", "--port", str(port)) as dev:
        try:
            assert dev.stdout is not None
            said = list(takewhile(lambda line: not line.startswith("slots"), dev.stdout))
            (token,) = [line.split()[1] for line in said if line.startswith("token")] or pytest.fail("".join(said))
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", headers={"Authorization": f"Bearer {token}"}) as http:
                closed = {"specversion": "1.0", "id": "1", "source": "/till", "type": "day.closed", "data": {"rows": 21}}
                sent = http.post("/events", json=closed, headers={"Content-Type": "application/cloudevents+json"})
                assert sent.status_code == 202, sent.text
                until(lambda: [run["state"] for run in http.get("/runs").json()["runs"]] == ["succeeded"])
                (run,) = http.get("/runs").json()["runs"]
        finally:
            dev.terminate()
    assert (run["pipeline"], run["tags"], run["cause"]["kind"]) == ("remote_flow", {"version": "1"}, "event")


def test_dev_with_a_database_of_its_own_publishes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flow.py").write_text(textwrap.dedent(FLOW))
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    refused = penstock(tmp_path, "dev", "flow.py:remote_flow")
    assert (refused.returncode, "use `penstock publish` beside it" in refused.stderr) == (2, True)


def test_what_is_submitted_takes_components_of_the_services(
    engine: ServedEngine, client: HttpClient, flows: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    getattr(flows, "double").publish("2.0")  # noqa: B009 -- as above
    (tmp_path / "taking.py").write_text(textwrap.dedent(TAKING))
    monkeypatch.setenv("PENSTOCK_API_URL", engine.url)
    monkeypatch.setenv("PENSTOCK_API_TOKEN", TOKEN)

    submitted = penstock(tmp_path, "submit", "taking.py", "--json")
    published = penstock(tmp_path, "publish", "taking.py", "--json")

    assert (submitted.returncode, published.returncode) == (0, 0), submitted.stderr + published.stderr
    last = list(client.follow(json.loads(submitted.stdout.splitlines()[-1])["run_id"]))[-1]
    assert (last.state.value, last.outputs["result"].json_value()) == ("succeeded", 8)  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue]  # small JSON
