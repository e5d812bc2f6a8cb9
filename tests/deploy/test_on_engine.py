"""The `penstock` script on the embedded engine: what people type, and what they get."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.processes import penstock, started

PIPELINE = """
from collections.abc import Sequence
from pathlib import Path
from penstock.sdk import collect, each, pipeline, step

Path({imports!r}).open("a").write("imported ")

@step
def double(x: int) -> int:
    print("doubling", x)
    if x == 13:
        raise ValueError("no 13")
    return 2 * x

@step
def total(xs: Sequence[int]) -> int:
    return sum(xs)

@pipeline
def doubled(xs: Sequence[int] = (1, 2)) -> int:
    return total(collect(double(each(xs))))
"""
SLOW = """
import time
from pathlib import Path
from penstock.sdk import pipeline, step

@step
def wait(x: int) -> int:
    while not Path({gate!r}).exists():
        time.sleep(0.02)
    return x

@pipeline
def waiting(x: int = 1) -> int:
    return wait(x)
"""


def last_json(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text.splitlines()[-1])
    return document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.py").write_text(PIPELINE.format(imports=str(tmp_path / "imports")))
    (tmp_path / "slow.py").write_text(SLOW.format(gate=str(tmp_path / "gate")))
    return tmp_path


def test_a_second_run_executes_nothing_and_does_not_import_the_users_file(folder: Path) -> None:
    first = penstock(folder, "run", "p.py", "--json")
    imports = (folder / "imports").read_text()
    second = penstock(folder, "run", "p.py", "--json")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert last_json(first.stdout)["outputs"] == {"result": 6}
    assert [step["hit"] for step in last_json(second.stdout)["steps"]] == [True, True, True]
    assert (folder / "imports").read_text() == imports


def test_a_failing_step_exits_with_1_and_its_traceback_comes_first(folder: Path) -> None:
    finished = penstock(folder, "run", "p.py", "-p", "xs=[13]")

    assert finished.returncode == 1
    after_header = finished.stdout.partition("\nTraceback")[2]
    assert 'raise ValueError("no 13")' in after_header
    assert "penstock debug double/0" in after_header
    assert penstock(folder, "logs", "double/0").stdout == "doubling 13\n"


def test_why_names_what_changed(folder: Path) -> None:
    penstock(folder, "run", "p.py")
    penstock(folder, "run", "p.py", "-p", "xs=[1, 5]")

    answer = penstock(folder, "why").stdout

    assert "double/0  taken from the cache" in answer
    assert "double/1  executed: input x" in answer
    assert "total     executed: input xs" in answer


def test_ctrl_c_cancels_the_run_and_exits_with_130(folder: Path) -> None:
    with started(folder, "run", "slow.py") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split() == ["wait", "running"]:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()

    assert process.returncode == 130
    assert "waiting-1 cancelled" in rest
    assert rest.splitlines()[-1] == "go on in a new run with: penstock rerun waiting-1"


def test_a_killed_run_is_resumed(folder: Path) -> None:
    with started(folder, "run", "slow.py") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split() == ["wait", "running"]:
                break
        process.kill()
    (folder / "gate").touch()

    listed = penstock(folder, "runs", "ls").stdout
    resumed = penstock(folder, "resume")

    assert "its process died" in listed
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "waiting-1 succeeded" in resumed.stdout


def test_a_plain_script_is_cached_and_its_files_come_back(folder: Path) -> None:
    (folder / "count.py").write_text("import sys\nopen('count.txt', 'w').write(str(len(open(sys.argv[2]).read())))\n")
    (folder / "data.csv").write_text("12345")

    first = penstock(folder, "run", "count.py", "--", "--data", "data.csv")
    assert first.returncode == 0, first.stdout + first.stderr
    (folder / "count.txt").unlink()
    second = penstock(folder, "run", "count.py", "--", "--data", "data.csv")

    assert "0 executed, 1 hits" in second.stdout
    assert (folder / "count.txt").read_text() == "5"


@pytest.mark.timeout(300)
def test_the_demonstration_shows_hits_and_early_cutoff(tmp_path: Path) -> None:
    finished = penstock(tmp_path, "demo", "wine", limit=280)

    assert finished.returncode == 0, finished.stdout + finished.stderr
    _, second, third = finished.stdout.split("$ penstock run")[1:]
    assert "retrain-2 succeeded" in second
    assert "0 executed, 22 hits" in second
    assert "20 executed, 2 hits" in third
    assert "baseline                taken from the cache" in third
    assert "dictionary              taken from the cache" in third
    assert (tmp_path / "wine" / "report.html").read_text().startswith("<!doctype html>")
