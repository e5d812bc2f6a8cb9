"""Held events as rows, by trigger, why they are held, and key."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from penstock.engine.statement import Statement
from penstock.engine.triggers.arrivals import Arrival

Why = Literal["join", "debounce", "batch", "again"]

_load = Statement(
    "SELECT h.trigger_no, h.why, h.key, h.event_no, h.replay, h.member, h.since "
    "FROM elements(:keys) k CROSS JOIN looked_up(h) held_event h "
    "WHERE h.trigger_no = part_of(k, 0) AND h.why = text_part_of(k, 1) AND h.key = text_part_of(k, 2) so_far(h)"
)
_due = Statement(
    "SELECT DISTINCT scanned(h.trigger_no), h.why, h.key FROM held_event h JOIN trigger_version t ON t.trigger_no = h.trigger_no "
    "WHERE h.until <= :now AND t.state = 'on' LIMIT 1000"
)
_insert = Statement(
    'INSERT INTO held_event (trigger_no, why, "key", member, event_no, replay, since, until) '
    "VALUES (:trigger_no, :why, :key, :member, :event_no, :replay, :since, :until) ON CONFLICT DO NOTHING"
)
_delete = Statement(
    'DELETE FROM held_event WHERE trigger_no = :trigger_no AND why = :why AND "key" = :key AND member = :member '
    "AND event_no = :event_no AND replay = :replay"
)
_set_until = Statement('UPDATE held_event SET until = :until WHERE trigger_no = :trigger_no AND why = :why AND "key" = :key')


class HoldKey(NamedTuple):
    trigger_no: int
    why: Why
    key: str


def load_held(connection: Connection, keys: Iterable[HoldKey]) -> dict[HoldKey, list[Arrival]]:
    """What is held under these keys."""
    found: dict[HoldKey, list[Arrival]] = defaultdict(list)
    for number, why, key, event_no, replay, member, since in _load.rows(connection, keys=json.dumps(list(keys))):
        found[HoldKey(number, why, key)].append(Arrival(event_no=event_no, replay=replay, member=member, received_us=since))
    return found


def due_holds(connection: Connection, now: int) -> list[HoldKey]:
    """Where something is to be done though nothing has come."""
    return [HoldKey(*row) for row in _due.rows(connection, now=now)]


def write_held(connection: Connection, key: HoldKey, before: Sequence[Arrival], after: Sequence[Arrival], until: int | None) -> None:
    """Has `after` held in the place of `before`, until something is to be done about it."""
    old, new = set(before), set(after)
    _delete.many(connection, [_place(key, arrival) for arrival in sorted(old - new)])
    _insert.many(connection, [{**_place(key, one), "since": one.received_us, "until": until} for one in sorted(new - old)])
    if old & new:
        _set_until(connection, **key._asdict(), until=until)


def _place(key: HoldKey, arrival: Arrival) -> dict[str, Any]:
    return {**key._asdict(), "member": arrival.member, "event_no": arrival.event_no, "replay": arrival.replay}
