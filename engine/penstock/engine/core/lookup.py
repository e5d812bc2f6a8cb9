"""The cache: whether the outputs of a step run are known, here or to others, and whether their bytes are still there."""

from collections.abc import Generator

from penstock.contracts.artifacts import refs_in
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import StepState
from penstock.engine.core.rows import ASKED_OTHERS, RECOMPUTED, CacheRow, Key, StepRow, unpack_values
from penstock.engine.core.slice import Slice, Steps
from penstock.engine.core.wants import Answered, CacheEntries, Checked, Pins, StepRuns, Want


def look_up(rows: Slice, found: list[StepRow]) -> Steps:
    """Ends those whose outputs are known; the others are ready."""
    kept = yield from pinned(rows, found)
    keys = [row.key for row in found if row.key is not None and _may_hit(rows, row)]
    yield CacheEntries([key for key in dict.fromkeys(keys) if key not in rows.cache])
    for row in found:
        entry = rows.cache.get(row.key or "") if _may_hit(rows, row) else None
        if row.place in kept:
            pin(rows, row, kept[row.place])
        elif entry is not None and _is_young(rows, row, entry):
            _hit(rows, row, entry)
        elif entry is None and _may_ask_others(rows, row):
            rows.touch(row)
            row.state, row.flags = StepState.CHECKING, row.flags | ASKED_OTHERS
        else:
            rows.make_ready(row)


def pinned(rows: Slice, found: list[StepRow]) -> Generator[Want, None, dict[Key, StepRow]]:
    """Those that keep what they had in the run that this one reruns, with their step runs there."""
    if not rows.run.options.get("pins"):
        return {}
    yield Pins([row.place for row in found])
    # Another key: the step was edited since, or takes something else than it took then.
    return {
        row.place: before
        for row in found
        if (before := rows.pins.get(row.place)) is not None and before.key == row.key and not rows.is_forced(row)
    }


def end_checking(rows: Slice, fact: Answered | Checked) -> Steps:
    """What others know, or whether the bytes of a hit are there, has been found out."""
    yield StepRuns(rows.unknown([fact.place]))
    row = rows.steps[fact.place]
    # Without outputs it asks what others know; with some, whether their bytes are there.
    if row.state is StepState.CHECKING and isinstance(fact, Answered) == (row.outputs is None):
        rows.touch(row)
        _take_answer(rows, row, fact.entry) if isinstance(fact, Answered) else _take_check(rows, row, fact.lost)


def _may_hit(rows: Slice, row: StepRow) -> bool:
    spec = rows.plan.nodes[row.node].spec
    return isinstance(spec, StepSpec) and spec.cache and not rows.is_forced(row) and not row.flags & RECOMPUTED


def _may_ask_others(rows: Slice, row: StepRow) -> bool:
    return rows.circumstances.asks_others and row.key is not None and _may_hit(rows, row) and not row.flags & ASKED_OTHERS


def _is_young(rows: Slice, row: StepRow, entry: CacheRow) -> bool:
    spec = rows.plan.nodes[row.node].spec
    limit = spec.cache_seconds if isinstance(spec, StepSpec) else None
    return limit is None or rows.now - entry.made_at <= limit * 1_000_000


def _hit(rows: Slice, row: StepRow, entry: CacheRow) -> None:
    rows.touch(row)
    row.hit_run, row.hit_at = entry.run_no, entry.made_at
    row.outputs, row.unpacked = entry.outputs, None
    if rows.now - entry.checked_at > rows.circumstances.check_after and _needs_check(entry):
        row.state = StepState.CHECKING
        return
    rows.end(row, StepState.SUCCEEDED)


def _needs_check(entry: CacheRow) -> bool:
    return any(not ref.is_inline for value in unpack_values(entry.outputs).values() for ref in refs_in(value))


def pin(rows: Slice, row: StepRow, before: StepRow) -> None:
    """Ends a step run with what it had in the run that this one reruns."""
    rows.touch(row)
    row.outputs, row.unpacked = before.outputs, None
    row.hit_run, row.hit_at = before.hit_run, before.hit_at
    rows.end(row, StepState.SUCCEEDED, "kept from the run that this one reruns")


def _take_answer(rows: Slice, row: StepRow, entry: CacheRow | None) -> None:
    if entry is None or not _is_young(rows, row, entry):
        rows.make_ready(row)
        return
    rows.changes.cache.append(entry)
    rows.cache[entry.key] = entry
    _hit(rows, row, entry)


def _take_check(rows: Slice, row: StepRow, lost: tuple[str, ...]) -> None:
    assert row.key is not None  # noqa: S101 - what is checked was found by its key
    if not lost:
        rows.changes.cache_touched.append((row.key, rows.now))
        rows.end(row, StepState.SUCCEEDED)
        return
    row.hit_run = row.hit_at = row.outputs = row.unpacked = None
    rows.changes.cache_dropped.append(row.key)
    rows.changes.lost_digests += lost
    rows.cache[row.key] = None
    rows.make_ready(row)
