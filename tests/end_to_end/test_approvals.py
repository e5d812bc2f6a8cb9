"""Runs that ask people, and what they name: on real engines in several processes, killed and resumed."""

import json
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.contracts.approvals import ApprovalView, DecisionRequest
from penstock.contracts.errors import InvalidInput
from penstock.contracts.states import RunState
from penstock.deploy.cli.named import name_lines, registry_of, tag
from penstock.deploy.embedded.client import EmbeddedClient
from penstock.sdk import File
from tests.deploy.processes import penstock, started
from tests.end_to_end.conftest import engine
from tests.end_to_end.user_project import UserProject, begun, executed, until

PIPELINE = """
from penstock.sdk import Decision, File, approval, collect, each, either, otherwise, pipeline, register, step, when

@step
def train(n: int) -> File:
    with open("model.txt", "w") as file:
        file.write(f"model {n}")
    return File("model.txt")

@step(cache=False)
def deploy(model: File, decision: Decision) -> str:
    return f"{model.path.read_text()}, approved by {decision.by}: {decision.comment}"

@step
def keep() -> str:
    return "kept"

@pipeline
def gated(n: int = 1, patience: str = "1h") -> str:
    model = train(n)
    decision = approval(f"Deploy {n}?", timeout="1h", evidence=[model])
    with when(decision.approved):
        register(model, "churn", alias="prod")
        url = deploy(model, decision)
    with otherwise():
        kept = keep()
    return either(url, kept)

@pipeline
def hasty() -> str:
    decision = approval("Quickly?", timeout="50ms", on_timeout="approve")
    with when(decision.approved):
        kept = keep()
    return kept

@step
def read(model: File) -> str:
    return model.path.read_text()

@pipeline
def reading(model: File) -> str:
    return read(model)

@step
def done(region: str, decision: Decision) -> str:
    return f"{region} {decision.approved}"

@pipeline
def by_region(regions: list[str]) -> list[str]:
    region = each(regions)
    return collect(done(region, approval(f"To {region}?")))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return tmp_path


@pytest.fixture
def client(folder: Path) -> Generator[EmbeddedClient]:
    """This process's engine, on the state folder of the other processes."""
    with engine(folder / "home") as client:
        yield client


@pytest.fixture
def shared(project: UserProject) -> UserProject:
    project.write("pipeline.py", PIPELINE)
    return project


@contextmanager
def other(folder: Path, *command: str) -> Generator[subprocess.Popen[str]]:
    """A command in another process, ended at the end whatever happens."""
    with started(folder, *command) as process:
        try:
            yield process
        finally:
            process.kill()


def asked(client: EmbeddedClient, count: int = 1) -> list[ApprovalView]:
    """What is asked, once there are so many questions."""
    until(lambda: len(client.approvals.list()) == count)
    return client.approvals.list()


def last_line(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return document


def test_a_run_of_another_process_goes_on_when_it_is_approved_here(client: EmbeddedClient, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:gated", "-p", "n=7") as process:
        (view,) = asked(client)
        answered = penstock(folder, "approve", "--comment", "looks good")
        output = process.communicate()[0]

    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.startswith("gated-1: Deploy 7?\napproval of gated-1 is approved by ")
    assert process.returncode == 0, output
    assert "answer in another terminal: penstock approve gated-1, or penstock reject gated-1" in output
    assert "model 7, approved by " in output
    assert view.question == "Deploy 7?"
    assert list(view.evidence) == ["train"]


def test_a_rejection_is_a_value_and_no_failure(shared: UserProject) -> None:
    run = shared.begin("gated", n=2)
    (view,) = asked(shared.client)

    shared.client.approvals.decide(view, DecisionRequest(approved=False))

    assert run.wait().result() == "kept"


def test_a_run_waits_though_its_process_dies_and_goes_on_where_it_is_resumed(client: EmbeddedClient, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:gated") as process:
        asked(client)
        process.kill()
        process.wait()
    answered = penstock(folder, "approve", "last")
    assert "its process died, go on with: penstock resume gated-1" in answered.stdout

    resumed = penstock(folder, "resume", "--json")

    assert resumed.returncode == 0, resumed.stderr
    assert last_line(resumed)["outputs"]["result"].startswith("model 1, approved by ")


def test_a_resumed_run_asks_still(client: EmbeddedClient, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:gated") as process:
        asked(client)
        process.kill()
        process.wait()

    client.resume("last")
    (view,) = asked(client)
    client.approvals.decide(view, DecisionRequest(approved=True))

    assert list(client.follow("last"))[-1].state is RunState.SUCCEEDED


def test_nobody_answers_in_time(shared: UserProject) -> None:
    run = shared.run("hasty")

    assert run.result() == "kept"
    assert run["approval"][0].view.reason == "approved, since nobody answered in time"


def test_a_cancelled_run_asks_nothing_any_more(client: EmbeddedClient, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:gated") as process:
        (view,) = asked(client)
        client.cancel("last")
        process.communicate()

    assert process.returncode == 4
    with pytest.raises(InvalidInput, match="is not asked any more"):
        client.approvals.decide(view, DecisionRequest(approved=True))


def test_each_item_of_a_fan_out_is_asked_for_by_its_address(shared: UserProject, folder: Path) -> None:
    run = shared.begin("by_region", regions=["eu", "us"])
    asked(shared.client, 2)

    unclear = penstock(folder, "approve", run.view.name)
    assert (unclear.returncode, "name one: approval/0, approval/1" in unclear.stderr) == (2, True)
    assert penstock(folder, "reject", run.view.name, "approval/1").returncode == 0
    listed = penstock(folder, "approvals")
    assert "approval/0  open" in listed.stdout
    assert "approval/1" not in listed.stdout
    assert penstock(folder, "approve", run.view.name, "approval/0").returncode == 0

    assert run.wait().result() == ["eu True", "us False"]


def test_a_rerun_of_what_failed_keeps_the_answer_and_a_new_run_asks(shared: UserProject) -> None:
    run = shared.begin("gated")
    shared.client.approvals.decide(asked(shared.client)[0], DecisionRequest(approved=True, comment="go"))
    run.wait()

    again = shared.begin("gated")
    (view,) = asked(shared.client)
    assert view.run_id == again.run_id
    again.cancel()
    again.wait()
    assert executed(again) == []


def test_a_named_artifact_is_the_input_of_a_later_run(shared: UserProject, folder: Path) -> None:
    run = shared.begin("gated", n=5)
    shared.client.approvals.decide(asked(shared.client)[0], DecisionRequest(approved=True))
    run.wait()
    assert run["register-churn"][0].view.reason == "registered as artifact://churn@1, which 'prod' means now"

    here = begun(shared.client, shared.pipeline("reading"), model=File("artifact://churn@prod")).wait()
    there = penstock(folder, "run", "pipeline.py:reading", "-p", "model=artifact://churn", "--json")

    assert here.result() == "model 5"
    assert here.view.resolved == {"artifact://churn@prod": "artifact://churn@1"}
    assert last_line(there)["outputs"]["result"] == "model 5"
    wrong = penstock(folder, "run", "pipeline.py:reading", "-p", "model=artifact://churn@prodd")
    assert (wrong.returncode, "did you mean 'prod'?" in wrong.stderr) == (2, True)


def test_names_are_looked_at_and_moved_by_command(shared: UserProject, folder: Path) -> None:
    for number in (1, 2):
        run = shared.begin("gated", n=number)
        shared.client.approvals.decide(asked(shared.client)[0], DecisionRequest(approved=True))
        run.wait()

    assert tag(shared.client, "churn@best", ["churn@1"]).startswith("artifact://churn@best is artifact://churn@1 (")
    assert "artifact://copy@1" in tag(shared.client, "copy@prod", ["gated-2", "train"])
    assert "artifact://churn@1" in penstock(folder, "artifacts", "tag", "churn@old", "churn@best").stdout
    with pytest.raises(InvalidInput, match="NAME@ALIAS"):
        tag(shared.client, "churn", ["churn@1"])
    listed = penstock(folder, "artifacts", "ls", "churn").stdout.splitlines()
    assert [line.split()[:3] for line in listed[1:]] == [["2", "prod", "7"], ["1", "best,", "old"]]
    assert name_lines(registry_of(shared.client))[1].split() == ["churn", "2", "best=1,", "old=1,", "prod=2"]


def test_what_has_a_name_outlives_its_run_and_the_cache(shared: UserProject, folder: Path) -> None:
    run = shared.begin("gated", n=3)
    shared.client.approvals.decide(asked(shared.client)[0], DecisionRequest(approved=True))
    run.wait()
    client = shared.client
    for path in (client.home / "artifacts" / "blobs").glob("*/*/*"):
        os.utime(path, (0, 0))  # long before whatever may be about to be referred to
    client.remove_run(run.run_id)
    client.cache_clear()

    assert client.collect_garbage().artifacts > 0

    there = penstock(folder, "run", "pipeline.py:reading", "-p", "model=artifact://churn", "--json")
    assert last_line(there)["outputs"]["result"] == "model 3"
