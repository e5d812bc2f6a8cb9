"""What shells are offered: commands, options, runs and steps."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.deploy.processes import PROGRAM, penstock
from tests.deploy.test_on_engine import PIPELINE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one run."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "p.py").write_text(PIPELINE.format(imports=str(folder / "imports")))
    assert penstock(folder, "run", "p.py").returncode == 0
    return folder


def offered(folder: Path, line: str) -> list[str]:
    """What bash is told for the last word of `line`."""
    words = {"_PENSTOCK_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    variables = {**os.environ, "PENSTOCK_HOME": str(folder / "home"), **words}
    done = subprocess.run([*PROGRAM], cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("penstock ru", ["run", "runs", "runners", "runner"]),
        ("penstock run --pd", ["--pdb"]),
        ("penstock runs sh", ["show"]),
        ("penstock why to", ["total"]),
        ("penstock logs dou", ["double", "doubled-1"]),
        ("penstock debug doubled-1 tot", ["total"]),
        ("penstock runs show d", ["doubled-1"]),
    ],
)
def test_a_shell_is_offered_what_fits(folder: Path, line: str, wanted: list[str]) -> None:
    assert offered(folder, line) == wanted


def test_a_question_makes_no_state_folder(tmp_path: Path) -> None:
    assert offered(tmp_path, "penstock why t") == []
    assert not (tmp_path / "home").exists()
