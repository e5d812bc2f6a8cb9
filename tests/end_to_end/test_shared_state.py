"""Several processes share one state folder: each drives its runs, all read, follow and cancel those of the others."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.contracts.errors import InvalidInput
from penstock.contracts.states import RunState
from penstock.deploy.embedded.client import EmbeddedClient
from tests.deploy.processes import penstock, started
from tests.end_to_end.conftest import engine
from tests.end_to_end.user_project import UserProject, executed, until

PIPELINE = """
import os
import time
from collections.abc import Sequence
from pathlib import Path
from penstock.sdk import collect, each, pipeline, step

@step(cache=False)
def hold(folder: str) -> int:
    Path(folder, "started").touch()
    while not Path(folder, "gate").exists():
        time.sleep(0.01)
    return 1

@pipeline
def holding(folder: str) -> int:
    return hold(folder)

@step
def expensive(folder: str, x: int) -> int:
    with Path(folder, "executions").open("a") as file:
        file.write(f"{x} ")
    while not Path(folder, "gate").exists():
        time.sleep(0.01)
    return x

@pipeline
def costly(folder: str, x: int = 1) -> int:
    return expensive(folder, x)

@step
def square(x: int) -> int:
    return x * x

@step
def total(xs: Sequence[int]) -> int:
    return sum(xs)

@pipeline
def squares(count: Sequence[int]) -> int:
    return total(collect(square(each(count))))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def client(folder: Path) -> Generator[EmbeddedClient]:
    """This process's engine, on the state folder of the other processes."""
    with engine(folder / "home") as client:
        yield client


@pytest.fixture
def shared(project: UserProject, folder: Path) -> UserProject:
    project.write("pipeline.py", PIPELINE)
    (folder / "pipeline.py").write_text((project.root / "pipeline.py").read_text())
    return project


@contextmanager
def other(folder: Path, *command: str) -> Generator[subprocess.Popen[str]]:
    """A command in another process, ended at the end whatever happens."""
    with started(folder, *command) as process:
        try:
            yield process
        finally:
            process.kill()


def test_two_processes_run_pipelines_at_once(shared: UserProject, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:squares", "-p", f"count={list(range(50))}") as process:
        mine = [shared.run("squares", count=list(range(100, 100 + n))).result() for n in (5, 10, 20)]
        output = process.communicate()[0]

    assert mine == [sum(x * x for x in range(100, 100 + n)) for n in (5, 10, 20)]
    assert process.returncode == 0, output
    assert [view.state for view in shared.client.runs()] == [RunState.SUCCEEDED] * 4


def test_a_run_of_another_process_is_followed_to_its_end(shared: UserProject, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:holding", "-p", f"folder={folder}"):
        until((folder / "started").exists)
        states: list[RunState] = []
        for view in shared.client.follow("last"):
            states.append(view.state)
            (folder / "gate").touch()

    assert states[0] is RunState.RUNNING
    assert states[-1] is RunState.SUCCEEDED


def test_a_run_of_another_process_is_cancelled(shared: UserProject, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:holding", "-p", f"folder={folder}") as process:
        until((folder / "started").exists)
        shared.client.cancel("last", "not needed")
        last = list(shared.client.follow("last"))[-1]
        output = process.communicate()[0]

    assert last.state is RunState.CANCELLED
    assert process.returncode == 4, output


def test_a_run_of_a_living_process_cannot_be_resumed_by_another(shared: UserProject, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:holding", "-p", f"folder={folder}"):
        until((folder / "started").exists)
        with pytest.raises(InvalidInput, match="is alive"):
            shared.client.resume("last")
        (folder / "gate").touch()


def test_a_dead_processes_run_is_seen_as_such_and_resumed_by_another(shared: UserProject, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:holding", "-p", f"folder={folder}") as process:
        until((folder / "started").exists)
        process.kill()
    assert not shared.client.run("last").is_owned_by_live_process

    (folder / "gate").touch()
    shared.client.resume("last")
    last = list(shared.client.follow("last"))[-1]

    assert last.state is RunState.SUCCEEDED


def test_a_dead_processes_run_is_cancelled_by_another(shared: UserProject, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:holding", "-p", f"folder={folder}") as process:
        until((folder / "started").exists)
        process.kill()

    shared.client.cancel("last")

    assert list(shared.client.follow("last"))[-1].state is RunState.CANCELLED


def test_the_same_work_at_once_in_two_processes_is_done_once(shared: UserProject, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:costly", "-p", f"folder={folder}") as process:
        until((folder / "executions").exists)
        mine = shared.begin("costly", folder=str(folder))
        until(lambda: any(count.states for count in mine.view.steps if count.kind == "step"))
        (folder / "gate").touch()
        output = process.communicate()[0]

    assert process.returncode == 0, output
    assert mine.result() == 1
    assert executed(mine) == []
    assert (folder / "executions").read_text() == "1 "


def test_work_that_a_dead_process_had_begun_is_done_by_the_next(shared: UserProject, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:costly", "-p", f"folder={folder}") as process:
        until((folder / "executions").exists)
        process.kill()
    (folder / "gate").touch()

    run = shared.run("costly", folder=str(folder))

    assert run.result() == 1
    assert executed(run) == ["expensive"]


def test_a_command_reads_runs_while_another_process_drives_them(shared: UserProject, folder: Path) -> None:
    with other(folder, "run", "pipeline.py:holding", "-p", f"folder={folder}", "--name", "mine"):
        until((folder / "started").exists)
        shown = penstock(folder, "runs", "show", "mine")
        (folder / "gate").touch()

    assert shown.returncode == 0, shown.stderr
    assert "mine running" in shown.stdout
    assert "its process died" not in shown.stdout
