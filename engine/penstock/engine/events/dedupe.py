"""Dedupe keys: of the events with the same one, the first counts, for every version of a trigger. One that is refused does not count."""

import json
from collections.abc import Iterable

from sqlalchemy import Connection

from penstock.engine.events.records import KnownEvent, Verdict
from penstock.engine.events.triggers import Trigger
from penstock.engine.statement import Statement

_first = Statement('SELECT event_no FROM dedupe_key WHERE workspace = :workspace AND trigger = :trigger AND "key" = :key')
_insert = Statement(
    'INSERT INTO dedupe_key (workspace, trigger, "key", event_no, "at") VALUES (:workspace, :trigger, :key, :event_no, :now) '
    "ON CONFLICT DO NOTHING"
)
_free = Statement(
    "DELETE FROM dedupe_key WHERE workspace = :workspace AND trigger = :trigger AND event_no IN "
    "(SELECT number_of(n) FROM elements(:numbers) n)"
)


def duplicate_of(connection: Connection, trigger: Trigger, event: KnownEvent, key: str, now: int) -> Verdict | None:
    """That another event with its key came first; None: it is the first. A replay is never stopped."""
    place = {"workspace": trigger.workspace, "trigger": trigger.name, "key": key}
    row = _first.first(connection, **place)
    if row is None:
        _insert(connection, **place, event_no=event.event_no, now=now)
        return None
    return None if event.replay or row[0] == event.event_no else Verdict("duplicate", f"event {row[0]} has the same key")


def free_keys(connection: Connection, trigger: Trigger, events: Iterable[KnownEvent]) -> None:
    """Nothing comes of these: whoever sends what was meant, under the same key, is heard."""
    if trigger.spec.dedupe is not None:
        numbers = json.dumps([event.event_no for event in events])
        _free(connection, workspace=trigger.workspace, trigger=trigger.name, numbers=numbers)
