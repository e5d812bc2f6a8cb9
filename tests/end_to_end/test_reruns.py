"""Runs again, as new runs: what failed, from a step on, or everything."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.processes import penstock

PIPELINE = """
from collections.abc import Sequence
from pathlib import Path
from penstock.sdk import collect, each, pipeline, step

def note(path: str, text: str) -> None:
    with Path(path + ".log").open("a") as file:
        file.write(text + " ")

@step
def first(path: str, x: int) -> int:
    note(path, f"first/{x}")
    return x

@step
def needs_flag(path: str, x: int) -> int:
    note(path, f"needs_flag/{x}")
    if x == 2 and not Path(path).exists():
        raise LookupError("no flag yet")
    return x

@step
def total(path: str, xs: Sequence[int]) -> int:
    note(path, "total")
    return sum(xs)

@pipeline
def flagged(path: str, xs: Sequence[int] = (1, 2, 3)) -> int:
    return total(path, collect(needs_flag(path, first(path, each(xs)))))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return tmp_path


def log(folder: Path) -> set[str]:
    """What was executed since it was last asked."""
    path = folder / "flag.log"
    found = set(path.read_text().split())
    path.write_text("")
    return found


def told(finished: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert finished.stdout, finished.stderr
    document: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return document


def test_a_rerun_of_what_failed_is_a_new_run_that_executes_only_that_and_what_is_below(folder: Path) -> None:
    failed = penstock(folder, "run", "pipeline.py", "-p", f"path={folder / 'flag'}", "--keep-going", "--json")
    assert (failed.returncode, told(failed)["state"]) == (1, "failed")
    assert log(folder) == {"first/1", "first/2", "first/3", "needs_flag/1", "needs_flag/2", "needs_flag/3"}

    (folder / "flag").touch()
    again = penstock(folder, "rerun", "--failed", "--json")

    assert again.returncode == 0, again.stderr
    assert told(again)["outputs"] == {"result": 6}
    assert told(again)["run"] != told(failed)["run"]
    assert log(folder) == {"needs_flag/2", "total"}


def test_a_rerun_from_a_step_executes_that_step_and_what_is_below(folder: Path) -> None:
    (folder / "flag").touch()
    penstock(folder, "run", "pipeline.py", "-p", f"path={folder / 'flag'}")
    log(folder)

    again = penstock(folder, "rerun", "--from", "needs_flag", "--json")

    assert again.returncode == 0, again.stderr
    assert log(folder) == {"needs_flag/1", "needs_flag/2", "needs_flag/3"}


def test_a_rerun_of_everything_asks_no_cache(folder: Path) -> None:
    (folder / "flag").touch()
    penstock(folder, "run", "pipeline.py", "-p", f"path={folder / 'flag'}")
    log(folder)

    again = penstock(folder, "rerun", "--json")

    assert again.returncode == 0, again.stderr
    assert not any(step["hit"] for step in told(again)["steps"])
    assert len(log(folder)) == 7


def test_an_ended_run_cannot_be_resumed_and_the_message_says_what_can_be_done(folder: Path) -> None:
    (folder / "flag").touch()
    penstock(folder, "run", "pipeline.py", "-p", f"path={folder / 'flag'}")

    refused = penstock(folder, "resume")

    assert refused.returncode == 2
    assert "penstock rerun flagged-1" in refused.stderr


def test_a_step_whose_output_changes_by_itself_is_named(folder: Path) -> None:
    (folder / "pipeline.py").write_text(
        "import time\nfrom penstock.sdk import pipeline, step\n\n@step\ndef clock() -> int:\n    return time.time_ns()\n\n"
        "@pipeline\ndef timed() -> int:\n    return clock()\n"
    )
    penstock(folder, "run", "pipeline.py")

    again = penstock(folder, "run", "pipeline.py", "--rerun", "clock")

    (line,) = [line for line in again.stdout.splitlines() if "nondeterministic output" in line]
    assert line.split()[0] == "clock"
