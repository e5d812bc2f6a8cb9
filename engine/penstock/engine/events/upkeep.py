"""What the event service looks after once a second, each in a transaction of its own."""

from typing import Protocol

from sqlalchemy import Connection

from penstock.engine.events.clocks import tell_due_times
from penstock.engine.events.deciding import release_due
from penstock.engine.events.records import Decided
from penstock.engine.events.starts import begin_due, try_again
from penstock.engine.statement import Statement

# The earliest of each: PostgreSQL would go through the tables to find just any.
_due = Statement(
    "SELECT EXISTS (SELECT 1 FROM trigger_clock c JOIN trigger_version t ON t.trigger_no = c.trigger_no "
    "WHERE c.next_at <= :now AND t.state IN ('on', 'paused')), (SELECT min(until) FROM held_event) <= :now, "
    "(SELECT min(due_at) FROM trigger_start WHERE state IN ('fetch', 'queue', 'again') AND state = 'again') <= :now, "
    "(SELECT min(due_at) FROM trigger_start WHERE state IN ('fetch', 'queue', 'again') AND state = 'queue') <= :now"
)
_new = Statement("SELECT 1 FROM event WHERE state = 'new' LIMIT 1")


class Look(Protocol):
    def __call__(self, connection: Connection, now: int, owner: str | None = None) -> Decided: ...


def has_new(connection: Connection) -> bool:
    """Whether there are events that are not decided."""
    return _new.first(connection) is not None


def looks_due(connection: Connection, now: int) -> list[Look]:
    """What there is something to do for. To know it costs a look at three indexes, and locks nothing."""
    row = _due.first(connection, now=now)
    assert row is not None  # noqa: S101 - it is about nothing but whether
    clocks, holds, again, queue = row
    found: list[Look] = []
    if clocks:
        found.append(tell_due_times)
    if holds:
        found.append(release_due)
    if again:
        found.append(try_again)
    if queue:
        found.append(begin_due)
    return found
