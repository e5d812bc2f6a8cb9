"""What is owed of events: taken in hand by one relay at a time for a while, then marked as it went."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.engine.statement import Statement

LEASE_MICROSECONDS = 60_000_000
"""So long nobody else takes what a relay has in hand; longer than any delivery lasts."""
DELIVERED_KEPT_MICROSECONDS = 24 * 3600 * 1_000_000
DEAD_KEPT_MICROSECONDS = 30 * 24 * 3600 * 1_000_000
BUS = ""
"""In the place of a subscription: the bus."""

_receivers = Statement(
    "SELECT s.workspace, s.name, s.url, s.generation, s.former_generation, s.former_until, s.rate_per_second FROM subscription s "
    "WHERE s.kind = 'webhook' AND s.state = 'on' AND EXISTS (SELECT 1 FROM owed_event o WHERE o.subscription = s.name "
    "AND o.workspace = s.workspace AND o.state = 'owed' AND o.due_at <= :now)"
)
_next_due = Statement("SELECT min(due_at) FROM owed_event WHERE state = 'owed'")
_next_on_bus = Statement("SELECT min(due_at) FROM owed_event WHERE state = 'owed' AND subscription = ''")
_claimable = Statement(
    "SELECT o.owed_no, o.message_id, o.topic, o.body, o.tries, o.give_up_at FROM owed_event o WHERE o.subscription = :subscription "
    "AND (CAST(:workspace AS TEXT) = '' OR o.workspace = CAST(:workspace AS TEXT)) AND o.state = 'owed' AND o.due_at <= :now "
    "ORDER BY o.due_at, o.owed_no LIMIT :count locked_if_free(o)"
)
_lease = Statement(
    "UPDATE owed_event SET due_at = :until, tries = tries + 1 WHERE owed_no IN (SELECT number_of(n) FROM elements(:numbers) n)"
)
_remove = Statement("DELETE FROM owed_event WHERE owed_no IN (SELECT number_of(n) FROM elements(:numbers) n)")
_put_back = Statement("UPDATE owed_event SET due_at = :due_at, status = :status, error = :error WHERE owed_no = :number AND state = 'owed'")
_end = Statement(
    "UPDATE owed_event SET state = :state, ended_at = :now, status = :status, error = :error WHERE owed_no = :number AND state = 'owed'"
)
_turn_off = Statement("UPDATE subscription SET state = 'off', error = :error WHERE workspace = :workspace AND name = :name")
_bury = Statement(
    "UPDATE owed_event SET state = 'dead', ended_at = :now, error = :error "
    "WHERE workspace = :workspace AND subscription = :name AND state = 'owed'"
)
_forget = Statement(
    "DELETE FROM owed_event WHERE ended_at IS NOT NULL AND ended_at < :delivered_before "
    "AND (state = 'delivered' OR ended_at < :dead_before)"
)


@dataclass(frozen=True, slots=True)
class Receiver:
    """A webhook to which something is due. `generations` are those of the secrets that sign for it."""

    workspace: str
    name: str
    url: str
    generations: tuple[int, ...]
    rate_per_second: int | None


@dataclass(frozen=True, slots=True)
class Owed:
    """An event in hand; `tries` counts this one."""

    number: int
    message_id: str
    topic: str
    body: str
    tries: int
    give_up_at: int


@dataclass(frozen=True, slots=True)
class Due:
    """What is due: on the bus, and to which webhooks. `next_at`: when the next is, as far as it is known now."""

    on_bus: bool = False
    receivers: tuple[Receiver, ...] = ()
    next_at: int | None = None


def due(connection: Connection, now: int) -> Due:
    """What there is to do; where there is nothing, one statement says so."""
    row = _next_due.first(connection)
    if row is None or row[0] is None or row[0] > now:
        return Due(next_at=None if row is None else row[0])
    bus = _next_on_bus.first(connection)
    receivers: list[Receiver] = []
    for workspace, name, url, generation, former, former_until, rate in _receivers.rows(connection, now=now):
        former_ones = (int(former),) if former is not None and former_until is not None and now < former_until else ()
        receivers.append(Receiver(workspace, name, url, (generation, *former_ones), rate))
    return Due(bus is not None and bus[0] is not None and bus[0] <= now, tuple(receivers), row[0])


def claim(connection: Connection, workspace: str, subscription: str, now: int, count: int) -> list[Owed]:
    """Takes what is due in hand. Of the bus (`workspace` empty), that of every workspace."""
    rows = _claimable.rows(connection, workspace=workspace, subscription=subscription, now=now, count=count)
    if rows:
        _lease(connection, numbers=json.dumps([row[0] for row in rows]), until=now + LEASE_MICROSECONDS)
    return [Owed(number, message_id, topic, body, tries + 1, give_up) for number, message_id, topic, body, tries, give_up in rows]


def published(connection: Connection, numbers: Sequence[int]) -> None:
    """These are on the bus: nothing is left to know of them."""
    _remove(connection, numbers=json.dumps(list(numbers)))


def arrived(connection: Connection, number: int, status: int | None, now: int) -> None:
    """Its receiver has it."""
    _end(connection, number=number, state="delivered", status=status, error=None, now=now)


def put_back(connection: Connection, number: int, due_at: int, status: int | None, error: str) -> None:
    """It is tried again."""
    _put_back(connection, number=number, due_at=due_at, status=status, error=error)


def give_up(connection: Connection, number: int, status: int | None, error: str, now: int) -> None:
    """Nobody tries it again by himself."""
    _end(connection, number=number, state="dead", status=status, error=error, now=now)


def turn_off(connection: Connection, workspace: str, name: str, error: str, now: int) -> None:
    """The receiver wants no more: what is owed to it is dead, until somebody turns it on and retries."""
    _turn_off(connection, workspace=workspace, name=name, error=error)
    _bury(connection, workspace=workspace, name=name, error=error, now=now)


def forget_old(connection: Connection, now: int) -> int:
    """Forgets deliveries that ended long ago; how many."""
    return _forget(connection, delivered_before=now - DELIVERED_KEPT_MICROSECONDS, dead_before=now - DEAD_KEPT_MICROSECONDS)
