"""An engine that is killed at any moment loses nothing and does nothing twice."""

import json
import random
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from penstock.deploy.embedded.client import connect
from tests.deploy.processes import penstock, started
from tests.end_to_end.user_project import until

PIPELINE = """
import time
from collections.abc import Sequence
from penstock.sdk import collect, each, pipeline, step

@step
def first(x: int) -> int:
    time.sleep(0.003)
    return 3 * x

@step
def second(x: int) -> str:
    return "x" * 5000 + str(x)

@step
def third(text: str) -> int:
    return int(text.strip("x"))

@step
def total(xs: Sequence[int]) -> int:
    return sum(xs)

@pipeline
def long(count: Sequence[int]) -> int:
    return total(collect(third(second(first(each(count))))))
"""
PAUSING = """
import time
from pathlib import Path
from penstock.sdk import Retry, RunSummary, pipeline, step

def attempt(folder: str) -> int:
    path = Path(folder, "attempts")
    with path.open("a") as file:
        file.write("x")
    return len(path.read_text())

@step(retries=Retry(2, delay=2.0))
def second_time_lucky(folder: str) -> int:
    if attempt(folder) == 1:
        raise ConnectionError("not yet")
    return 1

@pipeline
def trying(folder: str) -> int:
    return second_time_lucky(folder)

@step
def fails(folder: str) -> int:
    attempt(folder)
    raise ValueError("no")

@step
def tell(run: RunSummary) -> None:
    folder = Path(run.tags["folder"])
    with (folder / "hooked").open("a") as file:
        file.write(f"began {run.state} ")
    while not (folder / "gate").exists():
        time.sleep(0.01)
    with (folder / "hooked").open("a") as file:
        file.write("ended ")

@pipeline(on_failure=tell)
def hooked(folder: str) -> int:
    return fails(folder)
"""
COUNT = f"count={list(range(100))}"
KILLS = 20


@pytest.mark.timeout(300)
def test_a_run_of_300_steps_that_is_killed_20_times_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for folder in (killed, undisturbed):
        folder.mkdir()
        (folder / "pipeline.py").write_text(PIPELINE)
    assert penstock(undisturbed, "run", "pipeline.py", "-p", COUNT).returncode == 0

    chance = random.Random(7)
    kill(killed, ["run", "pipeline.py", "-p", COUNT], chance)
    for _ in range(KILLS - 1):
        kill(killed, ["resume", "last"], chance)
    last = penstock(killed, "resume", "last")

    assert last.returncode == 0, last.stdout + last.stderr
    assert outputs(killed) == outputs(undisturbed)
    assert len(outputs(killed)) == 301
    assert commits_per_step_run(killed) == {1}
    until(lambda: not processes_of(killed))


def test_a_run_killed_during_a_pause_between_attempts_goes_on_with_the_next_attempt(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text(PAUSING)
    with started(tmp_path, "run", "pipeline.py:trying", "-p", f"folder={tmp_path}") as process:
        try:
            until(lambda: rows(tmp_path, "SELECT 1 FROM step_run WHERE state = 'backoff'"))
        finally:
            process.kill()

    resumed = penstock(tmp_path, "resume", "--json")

    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "attempts").read_text() == "xx"
    (step,) = json.loads(resumed.stdout.splitlines()[-1])["steps"]
    assert step["attempts"] == 2


def test_a_run_killed_in_its_hook_has_its_hook_and_keeps_its_end(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text(PAUSING)
    with started(tmp_path, "run", "pipeline.py:hooked", "-p", f"folder={tmp_path}", "--tag", f"folder={tmp_path}") as process:
        try:
            until((tmp_path / "hooked").exists)
        finally:
            process.kill()
    until(lambda: not processes_of(tmp_path))
    (tmp_path / "gate").touch()

    resumed = penstock(tmp_path, "resume", "--json")

    assert resumed.returncode == 1, resumed.stderr
    assert json.loads(resumed.stdout.splitlines()[-1])["state"] == "failed"
    assert (tmp_path / "hooked").read_text() == "began failed began failed ended "
    assert (tmp_path / "attempts").read_text() == "x"


def kill(folder: Path, command: list[str], chance: random.Random) -> None:
    """Starts a command and kills its process after some more step runs have succeeded and some more time has passed."""
    before = succeeded(folder)
    more, seconds = chance.choice([0, 0, 3, 10, 20]), chance.uniform(0.0, 0.05)
    with started(folder, *command) as process:
        try:
            until(lambda: process.poll() is not None or (drives(folder, process) and succeeded(folder) >= before + more), 60)
            time.sleep(seconds)
            assert process.poll() is None, f"it ended by itself: {process.stdout and process.stdout.read()}"
        finally:
            process.kill()


def drives(folder: Path, process: subprocess.Popen[str]) -> bool:
    """Whether the run of `folder` belongs to that process."""
    return any(str(owner).startswith(f"{process.pid}-") for (owner,) in rows(folder, "SELECT owner FROM run"))


def succeeded(folder: Path) -> int:
    return int(next(iter(rows(folder, "SELECT count(*) FROM step_run WHERE state = 'succeeded'")), (0,))[0])


def commits_per_step_run(folder: Path) -> set[int]:
    """How often a step run's output was committed: by its attempts, and by what is told to others."""
    attempts = rows(folder, "SELECT count(*) FROM attempt WHERE state = 'succeeded' GROUP BY run_no, node, item")
    told = rows(folder, "SELECT count(*) FROM timeline WHERE type = 'step.succeeded' AND attempt IS NOT NULL GROUP BY run_no, node, item")
    return {count for (count,) in [*attempts, *told]}


def outputs(folder: Path) -> dict[tuple[str, tuple[int, ...]], object]:
    client = connect(folder / "home")
    try:
        views = client.step_runs("last", limit=1000)
        return {(view.step, view.index): view.outputs for view in views if view.attempts}
    finally:
        client.close()


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """The answer, as far as there is a database yet."""
    database = folder / "home" / "penstock.sqlite"
    if not database.exists():
        return []
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


def processes_of(folder: Path) -> list[psutil.Process]:
    """The zygotes and guests of the state folder in `folder`."""
    home = str(folder / "home")
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if any(home in argument for argument in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found
