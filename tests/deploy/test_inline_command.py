"""`penstock run --inline` and `--pdb`: the whole pipeline in the command's own process."""

from pathlib import Path

import pytest

from tests.deploy.processes import penstock
from tests.deploy.test_on_engine import last_json

PIPELINE = """
import os
from collections.abc import Sequence
from pathlib import Path
from penstock.sdk import File, collect, each, pipeline, step

@step
def read(table: File) -> int:
    return len(table.path.read_text().splitlines())

@step
def share(lines: int, by: int) -> float:
    secret_local = by * 111
    Path({pids!r}).open("a").write(f"{{os.getpid()}} ")
    return lines / by

@step
def report(shares: Sequence[float]) -> File:
    Path("report.txt").write_text(" ".join(map(str, shares)))
    return File("report.txt")

@pipeline
def shares(table: File, by: Sequence[int] = (1, 2)) -> File:
    return report(collect(share(read(table), each(by))))
"""
VARIABLES = """
import os
from penstock.sdk import Secret, pipeline, step

@step(env_vars={"REGION": "eu", "HF_TOKEN": Secret("hf")})
def seen() -> str:
    return f"{os.environ['REGION']} {os.environ['HF_TOKEN']}"

@pipeline
def flow() -> str:
    return seen()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.py").write_text(PIPELINE.format(pids=str(tmp_path / "pids")))
    (tmp_path / "table.csv").write_text("a\nb\n")
    return tmp_path


def test_every_step_runs_in_one_process_and_nothing_is_kept(folder: Path) -> None:
    run = penstock(folder, "run", "p.py", "--inline", "-p", "table=table.csv")

    assert run.returncode == 0, run.stderr
    assert "share/1  succeeded" in run.stdout
    first, second = (folder / "pids").read_text().split()
    assert first == second
    assert not (folder / "home").exists()


def test_outputs_are_saved_and_told_as_json(folder: Path) -> None:
    run = penstock(folder, "run", "p.py", "--inline", "-p", "table=table.csv", "--save", "result=saved.txt", "--json")

    assert run.returncode == 0, run.stderr
    assert (folder / "saved.txt").read_text() == "2.0 1.0"
    document = last_json(run.stdout)
    assert document["state"] == "succeeded"
    assert [(step["name"], step["index"]) for step in document["steps"]] == [("read", []), ("share", [0]), ("share", [1]), ("report", [])]
    assert document["outputs"]["result"]["size"] == len("2.0 1.0")


def test_a_failing_step_exits_with_1_and_shows_its_traceback(folder: Path) -> None:
    run = penstock(folder, "run", "p.py", "--inline", "-p", "table=table.csv", "-p", "by=[0]")

    assert run.returncode == 1
    assert "return lines / by" in run.stdout
    assert "ZeroDivisionError" in run.stdout


def test_the_debugger_opens_in_the_frame_that_raised(folder: Path) -> None:
    run = penstock(folder, "run", "p.py", "--pdb", "-p", "table=table.csv", "-p", "by=[0, 3]", typed="p secret_local + 5\nc\n")

    assert run.returncode == 1
    assert "(Pdb) 5" in run.stdout


@pytest.mark.parametrize("option", [("--rerun", "share"), ("--name", "mine"), ("--watch",)])
def test_what_needs_an_engine_is_refused(folder: Path, option: tuple[str, ...]) -> None:
    run = penstock(folder, "run", "p.py", "--inline", "-p", "table=table.csv", *option)

    assert run.returncode == 2
    assert f"leave out {option[0]}" in run.stderr


def test_steps_see_their_variables_and_secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "v.py").write_text(VARIABLES)
    monkeypatch.setenv("PENSTOCK_SECRET_HF", "hush")

    run = penstock(folder, "run", "v.py", "--inline")

    assert run.returncode == 0, run.stdout + run.stderr
    assert "result = 'eu hush'" in run.stdout


def test_an_error_in_the_file_exits_with_2_and_shows_the_users_line(folder: Path) -> None:
    (folder / "p.py").write_text("import nothing_like_it\n" + (folder / "p.py").read_text())

    run = penstock(folder, "run", "p.py", "--inline", "-p", "table=table.csv")

    assert run.returncode == 2
    assert "import nothing_like_it" in run.stderr
