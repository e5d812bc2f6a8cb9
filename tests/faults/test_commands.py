"""The commands of the documentation exist. What they do is tested beside the services, in less time."""

import re
from pathlib import Path

from tests.faults.__main__ import parser

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


def test_the_documented_commands_exist() -> None:
    commands = re.findall(r"^python -m tests\.faults (.*)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)

    assert {parser().parse_args(command.split()).kind for command in commands} == {"events", "kills", "long-step", "partition"}
