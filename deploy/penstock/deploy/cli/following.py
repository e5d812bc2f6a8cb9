"""Watching a run until it ends. Ctrl-C: the first asks the run to stop, the second leaves at once."""

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from penstock.contracts.errors import PenstockError
from penstock.contracts.views import RunView
from penstock.deploy.cli.asked import Asked
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.plain_lines import PlainLines
from penstock.sdk.client import EngineClient


class Display(Protocol):
    """Where a run's progress is shown."""

    def update(self, view: RunView) -> None: ...
    def note(self, text: str) -> None: ...
    def close(self) -> None: ...


class Interruption:
    """What Ctrl-C did to the run that is being followed."""

    def __init__(self, client: EngineClient, view: RunView, display: Display) -> None:
        self._client = client
        self._view = view
        self._display = display
        self.count = 0

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Runs as a signal handler: it only hands the work to a thread, for the engine may hold its locks right now."""
        self.count += 1
        if self.count == 1:
            threading.Thread(target=self._cancel, daemon=True).start()
            return
        sys.stderr.write(f"\nkilled; go on with: penstock resume {self._view.name}\n")
        sys.stderr.flush()
        os._exit(ExitCode.INTERRUPTED)

    def _cancel(self) -> None:
        self._display.note(f"cancelling {self._view.name} (Ctrl-C again kills)")
        try:
            self._client.cancel(self._view.run_id, "interrupted")
        except PenstockError as error:
            self._display.note(f"could not cancel: {error}")


def follow_run(client: EngineClient, view: RunView, display: Display) -> tuple[RunView, bool]:
    """The run as it ended, and whether Ctrl-C ended it."""
    interruption = Interruption(client, view, display)
    asked = Asked()
    with _on_interrupt(interruption):
        try:
            for latest in client.follow(view.run_id):
                view = latest
                display.update(view)
                for line in asked.lines(view):
                    display.note(line)
        finally:
            display.close()
    return view, interruption.count > 0


def display_for(quiet: bool) -> Display:
    """A live table on a terminal, plain lines elsewhere; on stderr where stdout is for machines."""
    stream = sys.stderr if quiet else sys.stdout
    if not quiet and stream.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console  # noqa: PLC0415 -- only terminals pay for drawing

        from penstock.deploy.cli.live_table import LiveTable  # noqa: PLC0415 -- as above

        return LiveTable(Console())
    return PlainLines(stream)


@contextmanager
def _on_interrupt(interruption: Interruption) -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, interruption.interrupt)
    try:
        yield
    finally:
        # The run has ended; another Ctrl-C must not cut short what is said about it.
        signal.signal(signal.SIGINT, signal.SIG_IGN if interruption.count else before)
