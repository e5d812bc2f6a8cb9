"""`penstock debug` on a real engine: a step again, with what it had."""

import shlex
import sys
from pathlib import Path

import pytest

from tests.deploy.processes import penstock

PIPELINE = """
import os
import random
import sys
from pathlib import Path
from penstock.sdk import CommandStep, Directory, File, Output, current_run, pipeline, step

@step(env_vars={"REGION": "eu"})
def draw(table: File, *, x: int) -> float:
    found = random.random() * len(table.path.read_text())
    print("drew", found, os.environ["REGION"], current_run().seed, current_run().idempotency_key)
    return found

@step
async def later(x: float) -> float:
    return x / (x - x)

made = Output("made", Directory)

@pipeline
def flow(table: File, x: int = 3) -> float:
    program = CommandStep(
        [sys.executable, "-c", "import sys; open(sys.argv[2] + '/copy', 'w').write(open(sys.argv[1]).read())", table, made], name="copy"
    )
    program[made]
    drawn = draw(table, x=x)
    later(drawn)
    return drawn
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one run, whose last step failed."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "flow.py").write_text(PIPELINE)
    (folder / "table.csv").write_text("a,b\n")
    run = penstock(folder, "run", "flow.py", "-p", "table=table.csv", "--keep-going")
    assert "ZeroDivisionError" in run.stdout, run.stderr
    return folder


def drawn(text: str) -> str:
    [line] = [line for line in text.splitlines() if "drew " in line]
    return line.partition("drew ")[2]


def test_a_debugged_step_sees_the_variables_seed_and_key_that_it_had(folder: Path) -> None:
    debugged = penstock(folder, "debug", "draw")

    assert debugged.returncode == 0, debugged.stderr
    assert drawn(debugged.stdout) == drawn(penstock(folder, "logs", "draw").stdout)
    assert " eu " in drawn(debugged.stdout)


def test_the_debugger_opens_in_an_async_step(folder: Path) -> None:
    debugged = penstock(folder, "debug", "later", typed="p x > 0\nq\n")

    assert debugged.returncode == 1
    assert "(Pdb) True" in debugged.stdout


def test_a_program_gets_a_shell_beside_its_inputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/sh")

    debugged = penstock(folder, "debug", "copy", typed="pwd\n")

    assert debugged.returncode == 0, debugged.stderr
    lines = debugged.stdout.splitlines()
    interpreter, _, _, table, made = shlex.split(lines[1])
    assert (interpreter, Path(table).suffix, made) == (sys.executable, ".csv", f"{lines[-1]}/made")


def test_an_input_that_is_gone_is_told(folder: Path) -> None:
    blob = next(path for path in (folder / "home").rglob("*") if path.is_file() and path.read_bytes() == b"a,b\n")
    blob.unlink()

    debugged = penstock(folder, "debug", "draw")

    assert debugged.returncode == 2
    assert "an input of draw is gone from the artifact store" in debugged.stderr
