"""The witness: a journal that steps keep beside the system, forced to the disk before user code goes on.

What it holds is what truly was executed, whatever the store says. Steps import this module in their guests: it stays light.
"""

import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

START, STOP, RAISE = "start", "stop", "raise"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `label` names a step run, `execution` is drawn for each call of the step's function."""

    label: str
    event: str
    execution: str
    process: int
    at: int
    """Microseconds since 1970, as the store counts."""


def note(journal: str, label: str, event: str, execution: str) -> None:
    """Writes a line, durable when this returns. A short write to a file opened for appending is one piece."""
    entry = Entry(label, event, execution, os.getpid(), time.time_ns() // 1000)
    file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, json.dumps(asdict(entry)).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def witnessed(journal: str, label: str) -> Generator[str]:
    """Notes that the step run begins, and that it came to its end."""
    execution = secrets.token_hex(8)
    note(journal, label, START, execution)
    yield execution
    note(journal, label, STOP, execution)


class Journal:
    """The journal as tests read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def entries(self) -> list[Entry]:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [Entry(**json.loads(line)) for line in lines]

    def counts(self, event: str = START) -> Counter[str]:
        """How often it happened, by label."""
        return Counter(entry.label for entry in self.entries() if entry.event == event)

    def is_running(self, label: str) -> bool:
        """Whether an execution of it has begun and not ended."""
        return self.counts(START)[label] > self.counts(STOP)[label] + self.counts(RAISE)[label]
