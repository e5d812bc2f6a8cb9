"""A run's progress where no terminal is: one line for each change of a step, no control codes."""

import time
from collections.abc import Callable
from typing import TextIO

from penstock.contracts.states import StepState
from penstock.contracts.views import RunView
from penstock.deploy.cli.progress import hit_text, state_text, took_text


class PlainLines:
    """Writes a line whenever a step's counts change; a waiting step is not worth one."""

    def __init__(self, stream: TextIO, clock: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._stream = stream
        self._clock = clock
        self._shown: dict[str, str] = {}

    def update(self, view: RunView) -> None:
        width = max((len(count.name) for count in view.steps), default=0)
        for count in view.steps:
            if count.kind != "step" or set(count.states) <= {StepState.WAITING}:
                continue
            state = state_text(count)
            if self._shown.get(count.name) == state:
                continue
            self._shown[count.name] = state
            took = took_text(count, self._clock()) if count.ended_at is not None else ""
            detail = ", ".join(text for text in (hit_text(count), took) if text)
            self._write(f"{count.name.ljust(width)}  {state}" + (f" ({detail})" if detail else ""))

    def note(self, text: str) -> None:
        self._write(text)

    def close(self) -> None:
        self._stream.flush()

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
