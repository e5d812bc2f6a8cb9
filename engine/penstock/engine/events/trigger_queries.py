"""Triggers as people see them: the live version, what it decided of late, and what it holds."""

import json
from collections import defaultdict
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.event_views import HeldView, TriggerView
from penstock.contracts.triggers import AllSource, CronSource
from penstock.engine.events.clocks import NEVER
from penstock.engine.events.holds import source_text
from penstock.engine.events.look_rows import troubles_of
from penstock.engine.events.triggers import Trigger, find_trigger, live_triggers
from penstock.engine.statement import Statement
from penstock.engine.triggers.arrivals import Arrival
from penstock.engine.triggers.joins import missing_members

DAY = 24 * 3600 * 1_000_000
_counts = Statement(
    "SELECT t.name, d.outcome, count(*) FROM trigger_version t JOIN decision d ON d.trigger_no = t.trigger_no "
    "WHERE t.workspace = :workspace AND (CAST(:name AS TEXT) IS NULL OR t.name = :name) AND d.at >= :since GROUP BY t.name, d.outcome"
)
_next = Statement(
    "SELECT t.name, c.member, c.next_at FROM trigger_clock c JOIN trigger_version t ON t.trigger_no = c.trigger_no "
    "WHERE t.workspace = :workspace AND t.state <> 'superseded' AND (CAST(:name AS TEXT) IS NULL OR t.name = :name)"
)
_last_run = Statement(
    "SELECT u.name FROM trigger_version t JOIN decision d ON d.trigger_no = t.trigger_no AND d.outcome = 'started' "
    "JOIN run u ON u.workspace = t.workspace AND u.run_id = d.run_id WHERE t.workspace = :workspace AND t.name = :name "
    "ORDER BY d.at DESC, d.event_no DESC LIMIT 1"
)
_held = Statement(
    "SELECT t.name, h.trigger_no, h.why, h.key, h.event_no, h.replay, h.member, h.since, h.until FROM held_event h "
    "JOIN trigger_version t ON t.trigger_no = h.trigger_no WHERE t.workspace = :workspace AND h.why <> 'again' "
    "AND (CAST(:name AS TEXT) IS NULL OR t.name = :name) ORDER BY t.name, h.why, h.key, h.event_no LIMIT :limit"
)
_waiting = Statement(
    "SELECT t.name, s.state, s.event_nos, s.key, s.made_at, s.due_at, s.reason FROM trigger_start s "
    "JOIN trigger_version t ON t.trigger_no = s.trigger_no WHERE t.workspace = :workspace AND s.state IN ('fetch', 'queue') "
    "AND (CAST(:name AS TEXT) IS NULL OR t.name = :name) ORDER BY t.name, s.made_at LIMIT :limit"
)
_held_count = Statement("SELECT count(*) FROM held_event h JOIN trigger_version t ON t.trigger_no = h.trigger_no WHERE t.trigger_no = :no")
_waiting_count = Statement("SELECT count(*) FROM trigger_start WHERE trigger_no = :no AND state IN ('fetch', 'queue')")
MOST_HELD = 10_000


def trigger_views(connection: Connection, workspace: str, now: int) -> list[TriggerView]:
    """Every trigger, by name."""
    triggers = live_triggers(connection, workspace)
    counts, next_at = _counts_of(connection, workspace, None, now), _next_at(connection, workspace, None)
    return [_view(connection, trigger, counts.get(trigger.name, {}), next_at) for trigger in triggers]


def trigger_view(connection: Connection, workspace: str, name: str, now: int) -> TriggerView:
    """
    :raises InvalidInput: there is no such trigger.
    """
    trigger = find_trigger(connection, workspace, name)
    counts = _counts_of(connection, workspace, name, now)
    return _view(connection, trigger, counts.get(name, {}), _next_at(connection, workspace, name))


def held_views(connection: Connection, workspace: str, name: str | None = None) -> list[HeldView]:
    """What triggers hold: half-joined events with what they wait for, bursts, batches, starts that wait their turn or for data."""
    rows = _held.rows(connection, workspace=workspace, name=name, limit=MOST_HELD)
    by_key: dict[tuple[Any, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        by_key[row[:4]].append(row)
    specs = {trigger.trigger_no: trigger for trigger in live_triggers(connection, workspace)}
    held = [_held_view(specs[key[1]], some) for key, some in by_key.items() if key[1] in specs]
    waiting = _waiting.rows(connection, workspace=workspace, name=name, limit=MOST_HELD)
    return held + [_waiting_view(row) for row in waiting]


def _view(connection: Connection, trigger: Trigger, counts: dict[str, int], next_at: dict[str, dict[int, int]]) -> TriggerView:
    times = [
        at
        for member, at in next_at.get(trigger.name, {}).items()
        if isinstance(trigger.spec.sources[member], CronSource) and at < NEVER and trigger.state == "on"
    ]
    last = _last_run.first(connection, workspace=trigger.workspace, name=trigger.name)
    held = _held_count.number(connection, no=trigger.trigger_no) + _waiting_count.number(connection, no=trigger.trigger_no)
    return TriggerView(
        spec=trigger.spec,
        version=trigger.version,
        state=trigger.state,
        from_version=trigger.from_version,
        updated_at=trigger.made_at,
        updated_by=trigger.made_by,
        next_at=min(times, default=None),
        last_run=None if last is None else last[0],
        counts=counts,
        held=held,
        trouble="; ".join(troubles_of(connection, trigger.trigger_no).values()),
    )


def _counts_of(connection: Connection, workspace: str, name: str | None, now: int) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for trigger, outcome, count in _counts.rows(connection, workspace=workspace, name=name, since=now - DAY):
        found[trigger][outcome] = count
    return found


def _next_at(connection: Connection, workspace: str, name: str | None) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for trigger, member, at in _next.rows(connection, workspace=workspace, name=name):
        found[trigger][member] = at
    return found


def _held_view(trigger: Trigger, rows: list[tuple[Any, ...]]) -> HeldView:
    name, _, why, key, *_ = rows[0]
    missing: tuple[str, ...] = ()
    if isinstance(trigger.spec.on, AllSource):
        arrivals = [Arrival(event_no=row[4], replay=row[5], member=row[6], received_us=row[7]) for row in rows]
        missing = tuple(source_text(trigger.spec.on, member) for member in missing_members(trigger.spec.on, arrivals))
    return HeldView(
        trigger=name,
        why=why,
        event_nos=tuple(row[4] for row in rows),
        key=key,
        since=min(row[7] for row in rows),
        until=rows[0][8],
        missing=missing,
    )


def _waiting_view(row: tuple[Any, ...]) -> HeldView:
    name, state, event_nos, key, made_at, due_at, reason = row
    why = "fetch" if state == "fetch" else "throttle" if "throttle" in reason else "queue"
    numbers = tuple(event_no for event_no, _ in json.loads(event_nos))
    return HeldView(trigger=name, why=why, event_nos=numbers, key=key, since=made_at, until=due_at if why == "throttle" else None)
