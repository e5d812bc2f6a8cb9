"""Reads the fenced blocks of a Markdown file.

The word after the language, if there is one, is a file that the block is written to. Otherwise `python` is executed, and of `console`
every line behind a `$`, whose output must hold the lines below it, in order; `...` stands for lines that don't matter. A line that ends
with `&` goes on in the background, from when it has said these lines until the document ends. `export NAME=value` and
`export NAME=$(command)` hold for the lines behind.
"""

import re
from dataclasses import dataclass
from pathlib import Path

RUN = frozenset({"python", "console"})
SHOWN = frozenset({"text", "mermaid"})

_FENCE = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Snippet:
    language: str
    file: str | None
    body: str
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a console block and the lines that its output holds."""

    text: str
    output: list[str]


def snippets_in(document: Path) -> list[Snippet]:
    text = document.read_text(encoding="utf-8")
    found: list[Snippet] = []
    for match in _FENCE.finditer(text):
        language, _, file = match["info"].strip().partition(" ")
        found.append(Snippet(language, file or None, match["body"], text.count("\n", 0, match.start()) + 1))
    return found


def commands_in(body: str) -> list[Command]:
    commands: list[Command] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            commands.append(Command(line[2:], []))
        elif line.strip() not in ("", "..."):
            commands[-1].output.append(line)
    return commands


def missing_line(output: str, expected: list[str]) -> str | None:
    """The first line of `expected` that `output` does not hold after the ones before it. Spaces count once; `…` stands for any text."""
    place = 0
    flat = " ".join(output.split())
    for line in expected:
        pattern = r".*?".join(re.escape(part) for part in " ".join(line.split()).split("…"))
        match = re.compile(pattern).search(flat, place)
        if match is None:
            return line
        place = match.end()
    return None
