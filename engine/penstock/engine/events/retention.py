"""Old events are forgotten, with what was decided about them: so a database stays as small as what happens in that time.

What still waits stays, whatever its age: held events, starts without their run, what is dead or not decided. Dedupe keys stay for good, as
they are to tell what came before; versions of triggers do too. The newest event stays, so that no number is ever another's.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import Connection

from penstock.contracts.errors import StoreUnavailable
from penstock.engine.locks import lock_free_name
from penstock.engine.statement import Statement
from penstock.engine.store import Store

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.events")

SWEEP_SECONDS = 600.0
AT_ONCE = 500
"""Rows that one transaction looks at: nobody waits long for it."""
PAUSE_SECONDS = 0.05
"""Between two transactions of a sweep, for whoever has more urgent work."""
_DAY = 24 * 3600 * 1_000_000

_next_events = Statement(
    "SELECT event_no, received_at FROM event WHERE event_no > :after AND event_no < (SELECT max(event_no) FROM event) "
    "ORDER BY event_no LIMIT :count"
)
_old = Statement(
    "SELECT e.event_no FROM event e WHERE e.event_no IN (SELECT number_of(n) FROM elements(:numbers) n) AND e.state = 'done' "
    "AND NOT EXISTS (SELECT 1 FROM decision d WHERE d.event_no = e.event_no AND d.outcome = 'waiting') "
    "ORDER BY e.event_no locked_if_free(e)"
)
_held = Statement("SELECT DISTINCT event_no FROM held_event WHERE event_no IN (SELECT number_of(n) FROM elements(:numbers) n)")
_FORGOTTEN = "WHERE event_no IN (SELECT number_of(n) FROM elements(:numbers) n)"
_forget = [Statement(f"DELETE FROM {table} {_FORGOTTEN}") for table in ("event_conflict", "decision", "event")]  # noqa: S608 - constants
_versions = Statement("SELECT trigger_no, state, definition FROM trigger_version ORDER BY trigger_no")
_old_starts = Statement(
    "SELECT s.cause FROM trigger_start s WHERE s.trigger_no = :trigger_no AND s.state = :state AND s.due_at < :before "
    "AND NOT EXISTS (SELECT 1 FROM run u JOIN trigger_version t ON t.workspace = u.workspace "
    "WHERE t.trigger_no = s.trigger_no AND u.run_id = s.run_id AND u.ended_at IS NULL) "
    "ORDER BY s.due_at LIMIT :count locked_if_free(s)"
)
_forget_starts = Statement(
    "DELETE FROM trigger_start WHERE trigger_no = :trigger_no AND state = :state AND cause IN (SELECT text_of(c) FROM elements(:causes) c)"
)
_FINAL = ("started", "skipped", "refused", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one transaction forgot. `next_after` is the number to go on behind; None: there is nothing older left to look at."""

    events: int
    next_after: int | None


def forget_events(connection: Connection, before: int, after: int = 0) -> Swept:
    """Forgets events of before `before` that nothing waits for, of the next few numbers behind `after`."""
    rows = _next_events.rows(connection, after=after, count=AT_ONCE)
    numbers = [event_no for event_no, received_at in rows if received_at < before]
    is_last = len(rows) < AT_ONCE or not numbers
    next_after = None if is_last else int(rows[-1][0])
    if not numbers:
        return Swept(events=0, next_after=next_after)
    # Whoever replays one of these or tries it again locks it first.
    old = {row[0] for row in _old.rows(connection, numbers=json.dumps(numbers))}
    if old:
        old -= {row[0] for row in _held.rows(connection, numbers=json.dumps(sorted(old)))}
    for statement in _forget if old else ():
        statement(connection, numbers=json.dumps(sorted(old)))
    return Swept(events=len(old), next_after=next_after)


def starts_before(connection: Connection, before: int, now: int) -> dict[int, int]:
    """Every version of a trigger, and before when starts of it count no more: not for its throttle either."""
    found: dict[int, int] = {}
    for trigger_no, state, definition in _versions.rows(connection):
        throttle = json.loads(definition).get("throttle") if state != "superseded" else None
        found[trigger_no] = min(before, now - int(throttle["seconds"] * 1_000_000)) if throttle else before
    return found


def forget_starts(connection: Connection, trigger_no: int, before: int) -> int:
    """Forgets some of a trigger's starts of before `before`, but for those whose runs go on; how many."""
    forgotten = 0
    for state in _FINAL:
        rows = _old_starts.rows(connection, trigger_no=trigger_no, state=state, before=before, count=AT_ONCE)
        if rows:
            causes = json.dumps([row[0] for row in rows])
            forgotten += _forget_starts(connection, trigger_no=trigger_no, state=state, causes=causes)
    return forgotten


class Retention:
    """Sweeps now and then; of any number that share a store, one at a time. `kept_days` 0: nothing is forgotten."""

    def __init__(self, store: Store, now: Callable[[], int], kept_days: float) -> None:
        self._store = store
        self._now = now
        self._kept = int(kept_days * _DAY)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.sweep()
            except StoreUnavailable as error:
                log.warning("store.unavailable", reason=str(error))
            except Exception:
                # The next sweep may go better; until then nothing is lost but room.
                log.exception("events.not_forgotten")
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Forgets all that is old enough, a little at a time."""
        if not self._kept:
            return
        now = self._now()
        before = now - self._kept
        events = await self._sweep_events(before)
        starts = 0
        for trigger_no, until in (await self._store.read(lambda connection: starts_before(connection, before, now))).items():
            starts += await self._sweep_starts(trigger_no, until)
        if events or starts:
            log.info("events.forgotten", events=events, starts=starts)

    async def _sweep_events(self, before: int) -> int:
        events, after = 0, 0
        while True:
            swept = await self._store.transaction(partial(_forget_alone, before=before, after=after))
            events += swept.events
            if swept.next_after is None:
                return events
            after = swept.next_after
            await asyncio.sleep(PAUSE_SECONDS)

    async def _sweep_starts(self, trigger_no: int, before: int) -> int:
        starts = 0
        while forgotten := await self._store.transaction(lambda connection: forget_starts(connection, trigger_no, before)):
            starts += forgotten
            await asyncio.sleep(PAUSE_SECONDS)
        return starts


def _forget_alone(connection: Connection, before: int, after: int) -> Swept:
    if not lock_free_name(connection, "forgetting events"):
        return Swept(events=0, next_after=None)
    return forget_events(connection, before, after)
