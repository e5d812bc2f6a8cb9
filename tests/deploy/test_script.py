"""The `penstock` script as a process: real tracing, real exit codes."""

from pathlib import Path

import pytest

from tests.deploy.processes import penstock

PIPELINE = """
from penstock.sdk import pipeline, step

@step
def double(x: int) -> int:
    return 2 * x

@pipeline
def doubled(x: int = 1) -> int:
    return double(x)
"""
TWO = (
    PIPELINE
    + """
@pipeline
def again(x: int = 1) -> int:
    return double(double(x))
"""
)
CROOKED = """
from penstock.sdk import pipeline, step

@step
def double(x: int) -> int:
    return 2 * x

@pipeline
def doubled(x: int = 1) -> int:
    return double(x) + 1
"""


def test_a_pipeline_that_builds_exits_with_0(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(PIPELINE)

    finished = penstock(tmp_path, "check", "p.py")

    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("doubled(x: int = 1) -> int\n1 steps")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CROOKED, "p.py"),
        ("def broken(:\n", "SyntaxError"),
        ("import not_there_at_all\n", "not_there_at_all"),
        ("x = 1\n", "@pipeline"),
        (TWO, "p.py:again"),
        ("raise ValueError('at import')\n", "at import"),
    ],
)
def test_a_file_that_does_not_build_exits_with_2_and_says_why(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "p.py").write_text(content)

    finished = penstock(tmp_path, "check", "p.py")

    assert finished.returncode == 2
    assert said in finished.stderr
    assert "penstock/deploy" not in finished.stderr


def test_one_of_two_pipelines_is_chosen_by_name(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(TWO)

    assert "again(x: int = 1)" in penstock(tmp_path, "graph", "p.py:again").stdout


def test_a_module_is_found_from_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "__init__.py").write_text("")
    (tmp_path / "team" / "flows.py").write_text(PIPELINE)

    finished = penstock(tmp_path, "graph", "-m", "team.flows:doubled")

    assert finished.returncode == 0, finished.stderr
    assert "double(x=x)" in finished.stdout


def test_an_example_project_is_written_and_builds(tmp_path: Path) -> None:
    assert penstock(tmp_path, "init", "wine").returncode == 0

    assert {path.name for path in (tmp_path / "wine").iterdir()} == {"pipeline.py", "drops", "README.md", "penstock.toml", ".gitignore"}
    again = penstock(tmp_path, "init", "wine")
    assert again.returncode == 2
    assert "exists already" in again.stderr
