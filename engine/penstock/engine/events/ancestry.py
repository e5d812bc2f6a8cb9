"""Where an event came from: the runs and triggers before it. What goes in a circle starts nothing."""

import json

from sqlalchemy import Connection

from penstock.engine.events.intake import causation_of
from penstock.engine.events.records import KnownEvent
from penstock.engine.events.triggers import Trigger
from penstock.engine.statement import Statement
from penstock.engine.triggers.causes import looped

_cause = Statement("SELECT cause FROM run WHERE workspace = :workspace AND run_id = :run_id")
_causations = Statement(
    "SELECT DISTINCT causation_id FROM event WHERE event_no IN (SELECT number_of(n) FROM elements(:numbers) n) AND causation_id IS NOT NULL"
)


def why_looped(connection: Connection, trigger: Trigger, event: KnownEvent) -> str | None:
    """Why the trigger makes nothing of an event that came through runs; None where nothing speaks against it."""
    causes = _triggers_before(connection, event) if event.event.hops else ()
    return looped(trigger.spec, event.event, sorted(causes))


def _triggers_before(connection: Connection, event: KnownEvent) -> set[str]:
    found: set[str] = set()
    seen: set[str] = set()
    pending = {causation_of(event.event)} - {None}
    while pending:
        run_id = pending.pop()
        if run_id is None or run_id in seen:
            continue
        seen.add(run_id)
        row = _cause.first(connection, workspace=event.workspace, run_id=run_id)
        if row is not None:
            cause = json.loads(row[0])
            found |= {cause["trigger"]} if cause.get("trigger") else set()
            numbers = json.dumps(cause.get("events", []))
            pending |= {one for (one,) in _causations.rows(connection, numbers=numbers)}
    return found
