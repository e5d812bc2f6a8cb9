"""How a step of a run stands, in words: the rows that the live table, plain lines and the summary all show."""

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.contracts.states import StepState
from penstock.contracts.views import RunView, StepCount
from penstock.deploy.cli.durations import age_text, elapsed_seconds, seconds_text

_ORDER = (
    StepState.FAILED,
    StepState.RUNNING,
    StepState.BACKOFF,
    StepState.CHECKING,
    StepState.READY,
    StepState.PARKED,
    StepState.SUCCEEDED,
    StepState.CANCELLED,
    StepState.SKIPPED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step in a table. `tone` is what a terminal may colour it by; `share` how much is done, where that is known."""

    name: str
    state: str
    took: str
    attempts: str
    note: str
    tone: StepState
    share: float | None


def rows(view: RunView, notes: dict[str, str], now: int) -> list[Row]:
    """A row for every step, with `notes` (reasons of skips and failures) by step name."""
    return [_row(count, notes.get(count.name, count.note), now) for count in view.steps if count.kind == "step"]


def state_text(count: StepCount) -> str:
    """`running`, `hit`, `4/6 done, 2 running`, `2 hit, 4 succeeded`."""
    total = count.total
    if not count.states:
        return "waiting"
    if total == 1:
        only = next(iter(present_states(count)), StepState.WAITING)
        return "hit" if count.hits else only.value
    executed = count.states.get(StepState.SUCCEEDED, 0) - count.hits
    parts = [f"{count.hits} hit"] if count.hits else []
    parts += [f"{executed} succeeded"] if executed > 0 else []
    parts += [f"{count.states[state]} {state.value}" for state in present_states(count) if state is not StepState.SUCCEEDED]
    done = done_count(count)
    if total is not None and done == total:
        return ", ".join(parts)
    known = "?" if total is None else str(total)
    return f"{done}/{known} done" + "".join(f", {part}" for part in parts if not part.endswith((" hit", " succeeded")))


def present_states(count: StepCount) -> list[StepState]:
    """The states that some step run is in, those that ask for attention first; waiting ones go without saying."""
    rest = [state for state in count.states if state not in _ORDER and state is not StepState.WAITING]
    return [state for state in (*_ORDER, *rest) if count.states.get(state, 0) > 0]


def done_count(count: StepCount) -> int:
    """How many step runs have ended."""
    return sum(number for state, number in count.states.items() if state.is_terminal)


def tone(count: StepCount) -> StepState:
    """The one state that stands for the step."""
    return next(iter(present_states(count)), StepState.WAITING)


def took_text(count: StepCount, now: int) -> str:
    """Seconds from first start to last end; nothing where only hits were taken."""
    seconds = elapsed_seconds(count.started_at, count.ended_at, now)
    executed = count.attempts > 0
    return seconds_text(seconds) if seconds is not None and executed else ""


def hit_text(count: StepCount) -> str:
    """`made 3 min ago`; of several hits, the oldest."""
    if not count.hits or count.oldest_hit_seconds is None:
        return ""
    return f"made {age_text(count.oldest_hit_seconds)}"


def aligned(cells: Iterable[tuple[str, ...]]) -> list[str]:
    """Columns padded to the widest of each; nothing trails."""
    table = list(cells)
    if not table:
        return []
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _row(count: StepCount, note: str, now: int) -> Row:
    changing = "nondeterministic output" if count.nondeterministic else ""
    notes = [text for text in (_progress_text(count), hit_text(count), changing, note) if text]
    executed = count.states.get(StepState.SUCCEEDED, 0) + count.states.get(StepState.FAILED, 0) - count.hits
    attempts = f"{count.attempts} attempts" if count.attempts > max(executed, 1) and tone(count).is_terminal else ""
    return Row(
        name=count.name,
        state=state_text(count),
        took=took_text(count, now),
        attempts=attempts,
        note="; ".join(notes),
        tone=tone(count),
        share=_share(count),
    )


def _share(count: StepCount) -> float | None:
    """Of the step runs; of a single one, what it says of itself."""
    if count.total is not None and count.total > 1:
        return done_count(count) / count.total
    if count.progress is not None and count.progress[1] and tone(count) is StepState.RUNNING:
        return count.progress[0] / count.progress[1]
    return None


def _progress_text(count: StepCount) -> str:
    if count.progress is None or tone(count) is not StepState.RUNNING:
        return ""
    done, total, text = count.progress
    figure = f"{done:g}" if total is None else f"{done:g}/{total:g}"
    return f"{figure} {text}".strip()
