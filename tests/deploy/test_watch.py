"""`penstock run --watch`: what changes is run again."""

import signal
from pathlib import Path

import pytest

from penstock.contracts.errors import GraphError
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.trace_record import source_digest
from penstock.deploy.cli.watching import Sources, watch
from tests.deploy.processes import penstock, started
from tests.deploy.test_on_engine import PIPELINE


class Edits:
    """Stands for the time between two looks at the files: each pause makes the next edit."""

    def __init__(self, *edits: tuple[Path, str] | None) -> None:
        self._edits = list(edits)

    def pause(self, seconds: float) -> None:
        if not self._edits:
            raise KeyboardInterrupt
        edit = self._edits.pop(0)
        if edit is not None:
            edit[0].write_text(edit[1])


def watched(start: Path, edits: Edits, *files: Path, broken: str = "") -> tuple[int, list[str]]:
    """How often a pipeline of these files ran until there were no more edits, and what was said."""
    said: list[str] = []
    runs = 0

    def once() -> tuple[ExitCode, Sources]:
        nonlocal runs
        runs += 1
        if broken and broken in start.read_text():
            raise GraphError("it is broken")
        return ExitCode.SUCCEEDED, {str(file): source_digest(str(file)) for file in files}

    with pytest.raises(KeyboardInterrupt):
        watch(once, start, said.append, edits.pause)
    return runs, said


def test_an_edit_runs_again_and_says_what_changed(tmp_path: Path) -> None:
    file, other = tmp_path / "p.py", tmp_path / "other.py"
    file.write_text("1")
    other.write_text("1")

    runs, said = watched(file, Edits(None, (other, "22"), None, None), file, other)

    assert runs == 2
    assert any("other.py changed: running again" in text and "p.py" not in text for text in said)


def test_a_file_that_is_written_again_with_the_same_contents_runs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "p.py"
    file.write_text("1")

    assert watched(file, Edits(None, (file, "1"), None, None), file)[0] == 1


def test_a_file_that_is_written_in_parts_runs_once(tmp_path: Path) -> None:
    file = tmp_path / "p.py"
    file.write_text("1")

    assert watched(file, Edits((file, ""), (file, "22"), (file, "333"), None, None), file)[0] == 2


def test_a_pipeline_that_can_not_be_built_waits_for_its_mending(tmp_path: Path) -> None:
    file = tmp_path / "p.py"
    file.write_text("broken")

    runs, said = watched(file, Edits(None, (file, "fine"), None, None), file, broken="broken")

    assert runs == 2
    assert "error: it is broken" in said


def test_the_command_runs_an_edited_file_again_until_ctrl_c(tmp_path: Path) -> None:
    file = tmp_path / "p.py"
    file.write_text(PIPELINE.format(imports=str(tmp_path / "imports")))
    process = started(tmp_path, "run", "p.py", "--watch")
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")

    assert any("watching" in line for line in lines)
    file.write_text(file.read_text().replace("return sum(xs)", "return sum(xs) + 1"))
    assert any("p.py changed" in line for line in lines)
    assert any("result = 7" in line for line in lines)
    assert any("watching" in line for line in lines)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode == ExitCode.INTERRUPTED


def test_many_runs_take_no_name(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(PIPELINE.format(imports=str(tmp_path / "imports")))

    run = penstock(tmp_path, "run", "p.py", "--watch", "--name", "mine")

    assert run.returncode == 2
    assert "--tag" in run.stderr
