"""Schedules: their times become events, each once, however many look. What was missed while nobody did is judged by the catch-up policy."""

import structlog
from sqlalchemy import Connection

from penstock.contracts.cloud_events import CloudEvent, ReceivedEvent
from penstock.contracts.errors import InvalidInput
from penstock.contracts.triggers import CronSource
from penstock.engine.events.deciding import take_in
from penstock.engine.events.records import Decided
from penstock.engine.events.triggers import Trigger, locked
from penstock.engine.statement import Statement
from penstock.engine.triggers.matching import SCHEDULE_DUE, trigger_source
from penstock.engine.triggers.schedules import due, local_time

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.events")

AGAIN_MICROSECONDS = 60_000_000
"""Until a schedule is looked at again that could not be followed."""
NEVER = 2**62
"""When a schedule is looked at that has no time left."""
_due = Statement(
    "SELECT c.trigger_no, c.member FROM trigger_clock c JOIN trigger_version t ON t.trigger_no = c.trigger_no "
    "WHERE c.next_at <= :now AND t.state IN ('on', 'paused') ORDER BY c.next_at LIMIT 1000"
)
_last = Statement("SELECT last_at FROM trigger_clock WHERE trigger_no = :trigger_no AND member = :member")
_set = Statement("UPDATE trigger_clock SET last_at = :last_at, next_at = :next_at WHERE trigger_no = :trigger_no AND member = :member")


def tell_due_times(connection: Connection, now: int, owner: str | None = None) -> Decided:
    """Makes events of the times that are due, and decides them."""
    rows = _due.rows(connection, now=now)
    triggers = {trigger.trigger_no: trigger for trigger in locked(connection, {row[0] for row in rows})}
    events: list[ReceivedEvent] = []
    for number, member in rows:
        trigger = triggers.get(number)
        if trigger is not None and trigger.state != "inert":
            events += _events_of(connection, trigger, member, now)
    return take_in(connection, events, now, owner)


def _events_of(connection: Connection, trigger: Trigger, member: int, now: int) -> list[ReceivedEvent]:
    """Nobody else looks at the trigger's clocks meanwhile."""
    source = trigger.spec.sources[member] if member < len(trigger.spec.sources) else None
    if not isinstance(source, CronSource):
        return []
    last = _last.number(connection, trigger_no=trigger.trigger_no, member=member)
    try:
        found = due(source, last, now)
    except InvalidInput as error:
        # A machine that does not know the zone, say. What passes meanwhile is judged when it can be told again.
        log.warning("schedule.not_followed", trigger=trigger.name, workspace=trigger.workspace, reason=str(error))
        _set(connection, last_at=last, next_at=now + AGAIN_MICROSECONDS, trigger_no=trigger.trigger_no, member=member)
        return []
    next_at = NEVER if found.next_us is None else found.next_us
    _set(connection, last_at=found.last_us, next_at=next_at, trigger_no=trigger.trigger_no, member=member)
    return [_event(trigger, source, member, at, now) for at in found.fire]


def _event(trigger: Trigger, source: CronSource, member: int, at: int, now: int) -> ReceivedEvent:
    time = local_time(source, at)
    event = CloudEvent(
        id=f"{member}/{time}" if len(trigger.spec.sources) > 1 else time,
        source=trigger_source(trigger.workspace, trigger.name),
        type=SCHEDULE_DUE,
        time=time,
        subject=trigger.name,
        data={"member": member, "schedule": source.schedule, "tz": source.tz},
    )
    return ReceivedEvent(workspace=trigger.workspace, via="schedule", event=event, received_at=now)
