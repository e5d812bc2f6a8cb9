"""Events and decisions as they are read and written while triggers decide."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.event_views import Outcome
from penstock.contracts.messages import clean_text
from penstock.engine.events.intake import event_of
from penstock.engine.statement import Statement

REASON_LIMIT = 2000
TRIES = 3
"""An event that can't be decided so often is put aside, until somebody asks for it."""
_COLUMNS = "e.event_no, e.workspace, e.replays, e.received_at, e.via, e.body"
_take_new = Statement(f"SELECT {_COLUMNS} FROM event e WHERE e.state = 'new' ORDER BY e.event_no LIMIT :count locked_if_free(e)")  # noqa: S608 - constants
_take = Statement(
    f"SELECT {_COLUMNS} FROM event e WHERE e.event_no IN (SELECT number_of(n) FROM elements(:numbers) n) AND e.state = 'new' "  # noqa: S608 - constants
    "ORDER BY e.event_no locked(e)"
)
_undecided = Statement("SELECT event_no FROM event WHERE state = 'new' ORDER BY event_no LIMIT 1000")
_load = Statement(
    f"SELECT {_COLUMNS} FROM elements(:numbers) n CROSS JOIN looked_up(e) event e WHERE e.event_no = number_of(n) so_far(e)"  # noqa: S608 - constants
)
_done = Statement("UPDATE event SET state = 'done', error = NULL WHERE event_no IN (SELECT number_of(n) FROM elements(:numbers) n)")
_fail = Statement(
    "UPDATE event SET tries = tries + 1, error = :error, state = CASE WHEN tries + 1 >= :tries THEN 'dead' ELSE state END "
    "WHERE event_no = :event_no AND state = 'new'"
)
_put = Statement(
    'INSERT INTO decision (event_no, trigger_no, replay, outcome, reason, run_id, "at") '
    "SELECT part_of(d, 0), part_of(d, 1), part_of(d, 2), text_part_of(d, 3), text_part_of(d, 4), text_part_of(d, 5), part_of(d, 6) "
    "FROM elements(:decisions) d WHERE 1 = 1 ON CONFLICT (event_no, trigger_no, replay) DO UPDATE SET outcome = excluded.outcome, "
    'reason = excluded.reason, run_id = excluded.run_id, "at" = excluded."at"'
)


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """An event that is kept. `replay` counts how often it was asked for again."""

    event_no: int
    workspace: str
    replay: int
    received_at: int
    via: str
    event: CloudEvent

    @property
    def occurrence(self) -> tuple[int, int]:
        """Tells it from the same event, replayed."""
        return self.event_no, self.replay

    def at_replay(self, replay: int) -> "KnownEvent":
        """The event as it was when it had been replayed so often."""
        return self if replay == self.replay else replace(self, replay=replay)


@dataclass(slots=True)
class Decided:
    """What came of taking events in and deciding them: runs to begin, and how often each outcome."""

    begun: list[int] = field(default_factory=list[int])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    events: int = 0
    received: int = 0
    stored: int = 0
    """Of those that were received, the new ones."""
    conflicts: int = 0
    fetches: bool = False
    """Whether a start waits for data."""

    def add(self, other: "Decided") -> None:
        self.begun += other.begun
        self.outcomes += other.outcomes
        self.events += other.events
        self.received += other.received
        self.stored += other.stored
        self.conflicts += other.conflicts
        self.fetches = self.fetches or other.fetches


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trigger makes of an event."""

    outcome: Outcome
    reason: str = ""
    run_id: str | None = None


@dataclass(slots=True)
class Record:
    """The decisions of a transaction, written together. A later one about the same event and trigger takes the place of an earlier one."""

    now: int
    decided: Decided = field(default_factory=Decided)
    _verdicts: dict[tuple[int, int, int], Verdict] = field(default_factory=dict[tuple[int, int, int], Verdict])

    def note(self, occurrences: Iterable[tuple[int, int]], trigger_no: int, verdict: Verdict) -> None:
        for event_no, replay in occurrences:
            self._verdicts[event_no, trigger_no, replay] = replace(verdict, reason=clean_text(verdict.reason, REASON_LIMIT))

    def write(self, connection: Connection) -> None:
        if not self._verdicts:
            return
        rows: list[tuple[Any, ...]] = [(*key, one.outcome, one.reason, one.run_id, self.now) for key, one in sorted(self._verdicts.items())]
        # Together with other writes, where a store gathers them.
        _put.many(connection, [{"decisions": json.dumps(rows)}])
        self.decided.outcomes.update(verdict.outcome for verdict in self._verdicts.values())
        self._verdicts.clear()


def take_new(connection: Connection, count: int) -> list[KnownEvent]:
    """Events that nobody has decided, nor decides at this moment."""
    return [_known(row) for row in _take_new.rows(connection, count=count)]


def take(connection: Connection, event_nos: Iterable[int]) -> list[KnownEvent]:
    """Of these, those that are not decided. Whoever decides them at this moment is waited for."""
    return [_known(row) for row in _take.rows(connection, numbers=json.dumps(sorted(set(event_nos))))]


def undecided(connection: Connection) -> list[int]:
    """Events that are not decided, the oldest first."""
    return [row[0] for row in _undecided.rows(connection)]


def load(connection: Connection, event_nos: Iterable[int]) -> dict[int, KnownEvent]:
    """Events by number."""
    numbers = sorted(set(event_nos))
    return {row[0]: _known(row) for row in _load.rows(connection, numbers=json.dumps(numbers))} if numbers else {}


def mark_done(connection: Connection, events: Sequence[KnownEvent]) -> None:
    """Every trigger has decided these."""
    if events:
        _done(connection, numbers=json.dumps([event.event_no for event in events]))


def note_failure(connection: Connection, event_no: int, error: str) -> None:
    """It could not be decided; after a few times it is put aside."""
    _fail(connection, event_no=event_no, error=clean_text(error, REASON_LIMIT), tries=TRIES)


def _known(row: tuple[Any, ...]) -> KnownEvent:
    event_no, workspace, replay, received_at, via, body = row
    return KnownEvent(event_no, workspace, replay, received_at, via, event_of(body))
