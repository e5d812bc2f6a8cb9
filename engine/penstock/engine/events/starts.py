"""Starts that wait their turn: for a throttle, for a free place, for data. Whoever looks takes the oldest first."""

from collections.abc import Mapping

from sqlalchemy import Connection

from penstock.contracts.artifacts import Value
from penstock.engine.access.holdings import hold
from penstock.engine.events.making import Group, make_runs, place, settle
from penstock.engine.events.records import Decided, KnownEvent, Record, Verdict, load
from penstock.engine.events.start_rows import START_COLUMNS, Start, drop_start, find_start, move_start, start_of
from penstock.engine.events.triggers import Trigger, locked
from penstock.engine.events.world import World
from penstock.engine.statement import Statement

AT_ONCE = 200
"""Starts of one trigger and key that one look takes."""
Parts = Mapping[str, tuple[str, int]]
"""Kind and size of artifacts, by digest."""
LEASE_MICROSECONDS = 60_000_000
"""So long nobody else fetches what somebody has begun to fetch."""
FETCH_TRIES = 5
FORGOTTEN = "an event that it is for is not kept any more"
_PAUSES = (2, 10, 60, 300)
"""Seconds between two tries to fetch."""
_WAITS = "state IN ('fetch', 'queue', 'again') AND state"
"""SQLite takes the index of the starts that wait only where the index's own condition is written."""
_due = Statement("SELECT DISTINCT trigger_no, \"key\" FROM trigger_start WHERE state = 'queue' AND due_at <= :now")
_queue = Statement(
    f"SELECT {START_COLUMNS} FROM trigger_start s WHERE s.trigger_no = :trigger_no AND s.state = 'queue' AND s.key = :key "  # noqa: S608 - constants
    "ORDER BY s.made_at, s.cause LIMIT :count"
)
_to_fetch = Statement(
    f"SELECT {START_COLUMNS} FROM trigger_start s WHERE {_WAITS} = 'fetch' AND s.due_at <= :now ORDER BY s.due_at, s.made_at LIMIT :count "  # noqa: S608 - constants
    "locked_if_free(s)"
)
_any_to_fetch = Statement(f"SELECT 1 FROM trigger_start WHERE {_WAITS} = 'fetch' AND due_at <= :now LIMIT 1")  # noqa: S608 - constants
_lease = Statement("UPDATE trigger_start SET due_at = :until WHERE trigger_no = :trigger_no AND cause = :cause AND state = 'fetch'")
_asked_again = Statement(
    f"SELECT {START_COLUMNS} FROM trigger_start s WHERE {_WAITS} = 'again' AND s.due_at <= :now ORDER BY s.made_at LIMIT {AT_ONCE}"  # noqa: S608 - constants
)


def begin_due(connection: Connection, now: int, owner: str | None = None) -> Decided:
    """Makes the runs of starts whose turn it is."""
    record = Record(now)
    world = World(connection, now, owner, record)
    due = _due.rows(connection, now=now)
    triggers = {trigger.trigger_no: trigger for trigger in locked(connection, [row[0] for row in due])}
    turns = [(triggers[number], key) for number, key in due if number in triggers and triggers[number].state != "paused"]
    for trigger, key in sorted(turns, key=lambda turn: (turn[0].workspace, turn[0].pipeline)):
        _begin(world, trigger, key)
    record.write(connection)
    return record.decided


def try_again(connection: Connection, now: int, owner: str | None = None) -> Decided:
    """Makes the runs that could not be made, of those starts that somebody asked for again: mapped and resolved anew."""
    record = Record(now)
    world = World(connection, now, owner, record)
    numbers = [row[0] for row in _asked_again.rows(connection, now=now)]
    triggers = {trigger.trigger_no: trigger for trigger in locked(connection, numbers)}
    # Once more, since somebody may have been faster.
    starts = [start_of(row) for row in _asked_again.rows(connection, now=now)] if numbers else []
    groups: list[Group] = []
    for start in starts:
        if start.trigger_no not in triggers:
            continue
        trigger, events = triggers[start.trigger_no], _events_of(world, start)
        if events is None:
            record.note(start.occurrences, trigger.trigger_no, settle(world, trigger, start, "failed", FORGOTTEN))
        else:
            drop_start(connection, start)
            groups.append(Group(trigger, tuple(events), start.cause))
    make_runs(world, groups)
    record.write(connection)
    return record.decided


def _events_of(world: World, start: Start) -> list[KnownEvent] | None:
    """What it is for. None: not all of it is kept any more."""
    events = load(world.connection, (event_no for event_no, _ in start.occurrences))
    if not all(event_no in events for event_no, _ in start.occurrences):
        return None
    return [events[event_no].at_replay(replay) for event_no, replay in start.occurrences]


def _begin(world: World, trigger: Trigger, key: str) -> None:
    rows = _queue.rows(world.connection, trigger_no=trigger.trigger_no, key=key, count=AT_ONCE)
    for row in rows:
        if not _placed(world, trigger, start_of(row)):
            return


def _placed(world: World, trigger: Trigger, start: Start) -> bool:
    """Whether the next one may have its turn too."""
    verdict = _in_place(world, trigger, start, is_next=True)
    if verdict.outcome == "waiting":
        return False
    world.record.note(start.occurrences, trigger.trigger_no, verdict)
    return True


def _in_place(world: World, trigger: Trigger, start: Start, *, is_next: bool = False) -> Verdict:
    events = _events_of(world, start)
    if events is None:
        return settle(world, trigger, start, "failed", FORGOTTEN)
    return place(world, trigger, start, events, is_next=is_next)


def has_fetches(connection: Connection, now: int) -> bool:
    """Whether a start waits for data which nobody fetches."""
    return _any_to_fetch.first(connection, now=now) is not None


def lease_fetches(connection: Connection, now: int, count: int) -> list[Start]:
    """Starts that wait for data which nobody fetches; they are the caller's for a while."""
    starts = [start_of(row) for row in _to_fetch.rows(connection, now=now, count=count)]
    for start in starts:
        renew_lease(connection, start, now)
    return starts


def renew_lease(connection: Connection, start: Start, now: int) -> None:
    _lease(connection, until=now + LEASE_MICROSECONDS, trigger_no=start.trigger_no, cause=start.cause)


def fetched(connection: Connection, start: Start, values: Mapping[str, Value], parts: Parts, now: int, owner: str | None = None) -> Decided:
    """Goes on with a start whose data is here, and has the workspace hold it. Of several that fetched it, one does."""
    record = Record(now)
    for trigger in locked(connection, [start.trigger_no]):
        current = find_start(connection, start.trigger_no, start.cause)
        if current is not None and current.state == "fetch":
            hold(connection, trigger.workspace, parts, now)
            move_start(connection, current, "queue", due_at=now, parameters={**current.parameters, **values})
            current = find_start(connection, start.trigger_no, start.cause)
            assert current is not None  # noqa: S101 - it was there
            world = World(connection, now, owner, record)
            verdict = _in_place(world, trigger, current)
            record.note(current.occurrences, trigger.trigger_no, verdict)
    record.write(connection)
    return record.decided


def not_fetched(connection: Connection, start: Start, reason: str, now: int, *, is_final: bool) -> Decided:
    """It could not be fetched: again later, or, after some tries, when somebody asks for it."""
    record = Record(now)
    for trigger in locked(connection, [start.trigger_no]):
        current = find_start(connection, start.trigger_no, start.cause)
        if current is None or current.state != "fetch":
            continue
        world = World(connection, now, None, record)
        tries = current.tries + 1
        if is_final or tries >= FETCH_TRIES:
            record.note(current.occurrences, trigger.trigger_no, settle(world, trigger, current, "failed", reason))
            continue
        due_at = now + _PAUSES[min(tries, len(_PAUSES)) - 1] * 1_000_000
        move_start(connection, current, "fetch", due_at=due_at, reason=reason, tries=tries)
    record.write(connection)
    return record.decided
