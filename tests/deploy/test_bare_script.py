"""A plain script is told from a pipeline file, and becomes one step."""

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.contracts.errors import GraphError
from penstock.contracts.spec import CommandTarget
from penstock.deploy.cli.bare_script import FILES, is_script, put_back, traced_script
from tests.deploy.fakes import FakeEngine

HOME = Path("/nowhere/.penstock")


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("print(1)\n", True),
        ("import pandas\n", True),
        ("from penstock.sdk import pipeline\n", False),
        ("import penstock.sdk as ps\n", False),
        ("def broken(:\n", False),
    ],
)
def test_a_script_is_a_file_that_does_not_speak_of_pipelines(tmp_path: Path, content: str, answer: bool) -> None:
    file = tmp_path / "a.py"
    file.write_text(content)

    assert is_script(file) is answer


def test_arguments_that_name_files_are_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("import numpy\nimport model\n")
    (tmp_path / "model.py").write_text("")
    (tmp_path / "data.csv").write_text("1\n")

    traced, inputs = traced_script(tmp_path / "train.py", ["--data", "data.csv", "--lr", "0.1"], HOME)

    (step,) = traced.spec.steps
    assert inputs == {"argument_1": Path("data.csv")}
    assert isinstance(step.run, CommandTarget)
    assert [argument.input or argument.text for argument in step.run.command[-4:]] == ["--data", "argument_1", "--lr", "0.1"]
    assert sorted(step.code.components) == ["model.py", "train.py"]
    assert "distribution numpy" in step.environment.components
    assert "module model" not in step.environment.components


def test_a_data_file_beside_the_script_is_not_its_code(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    before, _ = traced_script(tmp_path / "train.py", [], HOME)
    (tmp_path / "data.csv").write_text("1\n")
    after, _ = traced_script(tmp_path / "train.py", [], HOME)

    assert before == after


def test_what_lies_in_the_state_folder_is_not_its_code(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    before, _ = traced_script(tmp_path / "train.py", [], tmp_path / "state")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "copy.py").write_text("print(1)\n")
    after, _ = traced_script(tmp_path / "train.py", [], tmp_path / "state")

    assert before == after


def test_a_neighbour_that_is_no_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    (tmp_path / "old.py").write_text("print 1\n")

    with pytest.raises(GraphError, match=r"old\.py"):
        traced_script(tmp_path / "train.py", [], HOME)


def test_the_launcher_collects_new_and_changed_files_only(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir()
    out.mkdir()
    script = "import sys\nopen('model.bin', 'w').write(sys.argv[1])\nopen('old.txt', 'w').write('changed')\nsys.exit(0)\n"
    (work / "train.py").write_text(script)
    (work / "old.txt").write_text("1")
    (work / "kept.txt").write_text("1")
    traced, _ = traced_script(work / "train.py", [], HOME)
    target = traced.spec.steps[0].run
    assert isinstance(target, CommandTarget)
    launcher = target.command[2].text
    assert launcher is not None

    subprocess.run([sys.executable, "-c", launcher, str(out), "train.py", "weights"], cwd=work, check=True, timeout=60)

    assert sorted(path.name for path in out.iterdir()) == ["model.bin", "old.txt"]
    assert (out / "model.bin").read_text() == "weights"


def test_what_a_script_wrote_is_put_back(tmp_path: Path, engine: FakeEngine) -> None:
    made, here = tmp_path / "made", tmp_path / "here"
    (made / "plots").mkdir(parents=True)
    (made / "plots" / "a.png").write_bytes(b"png")
    (made / ".nothing").write_bytes(b"")

    written = put_back(engine, engine.put_path(made), here)

    assert written == [Path("plots/a.png")]
    assert (here / "plots" / "a.png").read_bytes() == b"png"
    assert FILES == "files"
