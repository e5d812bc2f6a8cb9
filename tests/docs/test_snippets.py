"""Every snippet of the documentation runs, in order, in a folder of its own for each document."""

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.docs.snippets import RUN, SHOWN, Command, commands_in, missing_line, snippets_in

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = frozenset({"penstock", "python", "sed", "cat", "ls", "cp", "mkdir", "curl", "amqp-publish", "openssl"})
_LOOKS = tuple(
    f"penstock {one}"
    for one in (
        "approvals",
        "events dead",
        "events held",
        "events ls",
        "events refused",
        "events show",
        "runs ls",
        "runs show",
        "status",
        "subscriptions deliveries",
        "triggers ls",
        "triggers show",
    )
)
_PATIENCE_SECONDS = 60.0


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if any(s.language in RUN for s in snippets_in(path))], ids=name_of)
def test_the_snippets_of_a_document_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_HOME")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.setenv("PWD", str(tmp_path))
    (tmp_path / "penstock.toml").touch()
    with ExitStack() as stack:
        _run_all(document, tmp_path, stack, monkeypatch)


def _run_all(document: Path, tmp_path: Path, stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
    for snippet in snippets_in(document):
        where = f"{name_of(document)}:{snippet.line}"
        if snippet.file is not None:
            (tmp_path / snippet.file).write_text(snippet.body, encoding="utf-8")
        elif snippet.language == "python":
            script = tmp_path / f"snippet_{snippet.line}.py"
            script.write_text(snippet.body, encoding="utf-8")
            _run([sys.executable, script.name], tmp_path, where)
        elif snippet.language == "console":
            for command in commands_in(snippet.body):
                if command.text.startswith("export "):
                    patch.setenv(*_exported(command.text, tmp_path, where))
                elif command.text.endswith(" &"):
                    stack.enter_context(_in_the_background(command, tmp_path, where))
                else:
                    _check(command, tmp_path, where)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_what_is_not_meant_to_run_is_marked_as_text(document: Path) -> None:
    odd = [f"line {s.line}: {s.language}" for s in snippets_in(document) if s.language not in RUN | SHOWN and s.file is None]

    assert odd == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = [part.partition(")")[0].partition("#")[0] for part in text.split("](")[1:]]

    assert [target for target in targets if target and "://" not in target and not (document.parent / target).exists()] == []


def test_a_line_that_the_output_lacks_is_found() -> None:
    assert missing_line("one  two\nthree", ["one two", "three"]) is None
    assert missing_line("took 3.1 s: fine", ["took … s: fine"]) is None
    assert missing_line("three one", ["one", "three"]) == "three"
    assert commands_in("$ a\nx\n...\n$ b\n") == [Command("a", ["x"]), Command("b", [])]


@contextmanager
def _in_the_background(command: Command, folder: Path, where: str) -> Generator[None]:
    """Returns once it has said what the document shows, and ends it behind the last snippet."""
    with subprocess.Popen(
        _words(command.text.removesuffix(" &"), where),
        cwd=folder,
        env=_environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            assert process.stdout is not None
            said = ""
            while (absent := missing_line(said, command.output)) is not None:
                line = process.stdout.readline()
                assert line, f"{where}: `{command.text}` ended without {absent!r}:\n{said}"
                said += line
            # What it says from now on is for nobody, and must not stop it.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield
        finally:
            process.terminate()


def _exported(text: str, folder: Path, where: str) -> tuple[str, str]:
    """The name and the value of `export NAME=value` or `export NAME=$(command)`."""
    name, _, value = text.removeprefix("export ").partition("=")
    if value.startswith("$("):
        words = _words(value.removeprefix("$(").removesuffix(")"), where)
        done = subprocess.run(words, cwd=folder, env=_environment(), check=True, text=True, stdout=subprocess.PIPE, timeout=120)
        return name, done.stdout.strip()
    return name, os.path.expandvars(value)


def _check(command: Command, folder: Path, where: str) -> None:
    text, _, given = command.text.partition(" < ")
    said = (folder / given).read_text(encoding="utf-8") if given else None
    output = _run(_words(text, where), folder, where, said)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (absent := missing_line(output, command.output)) is not None and _is_look(text) and time.monotonic() < deadline:
        time.sleep(0.2)
        output = _run(_words(text, where), folder, where, said)
    assert absent is None, f"{where}: `{command.text}` does not say {absent!r}, but:\n{output}"


def _is_look(text: str) -> bool:
    """Whether a command only shows how things are: what it shows may come a moment later."""
    return text.startswith(_LOOKS) or (text.startswith("curl ") and not {"-d", "-X", "--data"} & set(text.split()))


def _words(text: str, where: str) -> list[str]:
    program, *arguments = (os.path.expandvars(word) for word in shlex.split(text))
    assert program in PROGRAMS, f"{where}: {program} can't be run by a test; mark the block as text"
    path = Path(sys.executable).with_name(program)
    return [str(path) if path.exists() else program, *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "140", "NO_COLOR": "1"}


def _run(command: list[str], folder: Path, where: str, said: str | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=_environment(),
        check=False,
        text=True,
        input=said,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )
    assert done.returncode == 0, f"{where}: `{shlex.join(command)}` left with {done.returncode}:\n{done.stdout}"
    return done.stdout
