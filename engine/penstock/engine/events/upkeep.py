"""What the event service looks after once a second, each in a transaction of its own."""

from typing import Protocol

from sqlalchemy import Connection

from penstock.engine.events.clocks import tell_due_times
from penstock.engine.events.deciding import release_due
from penstock.engine.events.records import Decided
from penstock.engine.events.starts import begin_due, try_again


class Look(Protocol):
    def __call__(self, connection: Connection, now: int, owner: str | None = None) -> Decided: ...


LOOKS: tuple[Look, ...] = (tell_due_times, release_due, try_again, begin_due)
