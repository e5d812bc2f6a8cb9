"""A run's progress on a terminal: a table that is redrawn in place, with a bar for every step that has parts."""

import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from penstock.contracts.states import StepState
from penstock.contracts.views import RunView
from penstock.deploy.cli.progress import Row, rows

_COLOURS = {
    StepState.SUCCEEDED: "green",
    StepState.FAILED: "red",
    StepState.RUNNING: "cyan",
    StepState.BACKOFF: "yellow",
    StepState.SKIPPED: "dim",
    StepState.CANCELLED: "yellow",
}
_BAR_WIDTH = 16


class LiveTable:
    """Shows the run until `close`; its last picture stays on the screen. Tall graphs show the steps that move."""

    def __init__(self, console: Console, clock: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._console = console
        self._clock = clock
        self._view: RunView | None = None
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=8)
        self._live.start()

    def update(self, view: RunView) -> None:
        self._view = view

    def note(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        # The summary that follows is the last picture; a second copy would only repeat it.
        self._view = None
        self._live.transient = True
        self._live.stop()

    def _picture(self) -> RenderableType:
        if self._view is None:
            return Text("")
        shown = rows(self._view, {}, self._clock())
        room = max(5, self._console.size.height - 4)
        hidden = 0
        if len(shown) > room:
            moving = [row for row in shown if row.tone not in (StepState.WAITING, StepState.SUCCEEDED, StepState.SKIPPED)]
            hidden = len(shown) - len(moving[:room])
            shown = moving[:room]
        return Group(table(shown), *([Text(f"… and {hidden} more steps", style="dim")] if hidden else []))


def table(shown: list[Row]) -> Table:
    """The rows as a table without frames."""
    drawn = Table(box=None, pad_edge=False, show_edge=False)
    for title in ("step", "state", "", "took", "", "note"):
        drawn.add_column(title, header_style="dim", no_wrap=title in ("step", "took"), overflow="fold")
    for row in shown:
        colour = _COLOURS.get(row.tone, "")
        drawn.add_row(row.name, Text(row.state, style=colour), _bar(row), row.took, row.attempts, Text(row.note, style="dim"))
    return drawn


def _bar(row: Row) -> RenderableType:
    if row.share is None or row.share >= 1:
        return Text("")
    return ProgressBar(total=1.0, completed=row.share, width=_BAR_WIDTH)
