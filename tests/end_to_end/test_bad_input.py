"""What people may get wrong in files, parameters and state is told by the command line: what, where, and what to do."""

import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.deploy.processes import penstock

PIPELINE = """
from penstock.sdk import pipeline, step

@step
def double(number: int) -> int:
    return 2 * number

@pipeline
def doubled(number: int, label: str = "x") -> int:
    return double(number)
"""


def refused(folder: Path, *arguments: str) -> str:
    """What a command says that can't do what it is asked to; it never shows a traceback of ours."""
    finished = penstock(folder, *arguments)
    text = finished.stdout + finished.stderr
    assert finished.returncode == 2, text
    assert "penstock/deploy" not in text
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return tmp_path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"def broken(:\n    pass\n", ["bad.py", "line 1", "invalid syntax"]),
        (b"\xff\xfe\x00\x01binary", ["bad.py"]),
        (b"import nowhere_to_be_found\nfrom penstock.sdk import pipeline\n", ["nowhere_to_be_found", "bad.py"]),
        (b"from penstock.sdk import pipeline\n1 / 0\n", ["ZeroDivisionError", "bad.py"]),
        (b"from penstock.sdk import pipeline\n", ["bad.py", "no pipeline"]),
    ],
)
def test_a_pipeline_file_that_cannot_be_read_is_told_with_its_line(folder: Path, content: bytes, words: list[str]) -> None:
    (folder / "bad.py").write_bytes(content)

    text = refused(folder, "run", "bad.py")

    assert [word for word in words if word not in text] == []


def test_a_pipeline_file_that_is_not_there_is_named(folder: Path) -> None:
    assert "pipelin.py" in refused(folder, "run", "pipelin.py")


def test_an_unknown_pipeline_is_told_with_the_nearest(folder: Path) -> None:
    assert "doubled" in refused(folder, "run", "pipeline.py:doubeld")


def test_a_pipeline_that_calls_itself_is_told_as_a_cycle(folder: Path) -> None:
    (folder / "pipeline.py").write_text(PIPELINE.replace("return double(number)", "return doubled(double(number))"))

    text = refused(folder, "run", "pipeline.py", "-p", "number=1")

    assert "doubled calls itself" in text


def test_a_cycle_in_a_yaml_pipeline_names_its_steps(folder: Path) -> None:
    (folder / "pipeline.py").write_text(PIPELINE.replace("return double(number)", "return double(double(number))"))
    written = penstock(folder, "graph", "pipeline.py", "--format", "yaml")
    assert written.returncode == 0, written.stderr
    (folder / "pipeline.yaml").write_text(written.stdout.replace("parameter: number", "node: double-2\n      output: result"))

    text = refused(folder, "run", "pipeline.yaml", "-p", "number=1")

    assert "cycle" in text
    assert "double-2" in text


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (["-p", "number=three"], ["number", "int", "three"]),
        (["-p", "number=1.5"], ["number", "int"]),
        (["-p", "numbr=3"], ["numbr", "number"]),
        ([], ["number", "int"]),
        (["-p", "number"], ["number"]),
        (["-p", "number=@nowhere.json"], ["nowhere.json"]),
    ],
)
def test_a_wrong_parameter_is_told_with_what_is_wanted(folder: Path, parameters: list[str], words: list[str]) -> None:
    text = refused(folder, "run", "pipeline.py", *parameters)

    assert [word for word in words if word not in text] == []


def test_wrong_types_in_a_pipeline_are_told_with_the_line_before_anything_runs(folder: Path) -> None:
    (folder / "pipeline.py").write_text(PIPELINE.replace("double(number)", "double(label)"))

    text = refused(folder, "run", "pipeline.py", "-p", "number=1")

    assert "pipeline.py:10" in text
    assert "number takes int, and label is str" in text


def test_a_run_at_import_shows_the_guard(folder: Path) -> None:
    (folder / "pipeline.py").write_text(PIPELINE + "\ndoubled.run(number=1)\n")

    assert 'if __name__ == "__main__":' in refused(folder, "run", "pipeline.py", "-p", "number=1")


def test_a_newer_state_folder_is_refused_with_the_command_that_helps(folder: Path) -> None:
    assert penstock(folder, "run", "pipeline.py", "-p", "number=1").returncode == 0
    with sqlite3.connect(folder / "home" / "penstock.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    text = refused_state(penstock(folder, "run", "pipeline.py", "-p", "number=1"))

    assert "newer Penstock" in text
    assert "pip install --upgrade penstock" in text


def test_a_damaged_database_is_told_with_its_place(folder: Path) -> None:
    (folder / "home").mkdir()
    (folder / "home" / "penstock.sqlite").write_bytes(b"this is no database, but long enough to be looked at" * 100)

    text = refused_state(penstock(folder, "run", "pipeline.py", "-p", "number=1"))

    assert str(folder / "home") in text


def test_a_state_folder_that_is_a_file_is_told(folder: Path) -> None:
    (folder / "home").write_text("")

    text = refused_state(penstock(folder, "run", "pipeline.py", "-p", "number=1"))

    assert str(folder / "home") in text
    assert "PENSTOCK_HOME" in text


def refused_state(finished: subprocess.CompletedProcess[str]) -> str:
    text = finished.stdout + finished.stderr
    assert finished.returncode in (2, 3), text
    assert "Traceback" not in text
    return text
