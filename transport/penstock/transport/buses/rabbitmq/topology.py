"""What must exist on the broker, as plain data, and its declaration over AMQP.

A declaration names a queue's type and nothing else: a queue's arguments can't be changed later, so all that an operator tunes
(length limits, delivery limit, dead lettering, alternate exchange) is in policies.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from aiormq.abc import AbstractChannel

from penstock.contracts.pools import LANE_WORD
from penstock.transport.bus import DEAD, INBOX, INGEST, Exchange, work_binding, work_queue

UNROUTABLE = "penstock.unroutable"
"""The alternate exchange of `work`. Nothing is bound to it, so an order that no queue takes is still returned to its publisher;
an operator who wants to see such orders binds a queue for a while."""
LANE_EXPIRES_MILLISECONDS = 60_000
"""How long the queue of a served step outlives the last runner that serves it."""
DECLARE_SECONDS = 10.0


class ExchangeKind(StrEnum):
    TOPIC = "topic"
    FANOUT = "fanout"


class QueueKind(StrEnum):
    QUORUM = "quorum"
    CLASSIC = "classic"


@dataclass(frozen=True, slots=True)
class DeclaredExchange:
    """A durable exchange."""

    name: str
    kind: ExchangeKind


@dataclass(frozen=True, slots=True)
class DeclaredQueue:
    """A durable queue."""

    name: str
    kind: QueueKind = QueueKind.QUORUM
    expires_milliseconds: int | None = None

    @property
    def arguments(self) -> dict[str, str | int]:
        expiry = {} if self.expires_milliseconds is None else {"x-expires": self.expires_milliseconds}
        return {"x-queue-type": self.kind.value, **expiry}


@dataclass(frozen=True, slots=True)
class DeclaredBinding:
    exchange: str
    queue: str
    key: str


@dataclass(frozen=True, slots=True)
class Topology:
    """All that must exist, in an order in which it can be declared."""

    exchanges: tuple[DeclaredExchange, ...] = ()
    queues: tuple[DeclaredQueue, ...] = ()
    bindings: tuple[DeclaredBinding, ...] = ()


EXCHANGES = (
    DeclaredExchange(Exchange.WORK.value, ExchangeKind.TOPIC),
    DeclaredExchange(Exchange.REPORTS.value, ExchangeKind.TOPIC),
    DeclaredExchange(Exchange.VITALS.value, ExchangeKind.FANOUT),
    DeclaredExchange(Exchange.CONTROL.value, ExchangeKind.FANOUT),
    DeclaredExchange(Exchange.EVENTS.value, ExchangeKind.TOPIC),
    DeclaredExchange(Exchange.LOGS.value, ExchangeKind.TOPIC),
    DeclaredExchange(Exchange.INGEST.value, ExchangeKind.TOPIC),
    DeclaredExchange(DEAD, ExchangeKind.FANOUT),
    DeclaredExchange(UNROUTABLE, ExchangeKind.FANOUT),
)


def topology(pools: Iterable[tuple[str, str]] = (), *, ingest_from: Iterable[tuple[str, str]] = ()) -> Topology:
    """The whole, with a queue for each `(workspace, pool)`. Queues of lanes are not in it: who serves a step declares its own.

    `ingest_from` are exchanges of others, each with a key, from which events are taken in besides; they are bound, never declared.
    """
    shared = [queue_topology(name) for name in (DEAD, INBOX, INGEST)]
    parts = [*shared, *(queue_topology(work_queue(workspace, pool)) for workspace, pool in pools)]
    return Topology(
        exchanges=EXCHANGES,
        queues=tuple(queue for part in parts for queue in part.queues),
        bindings=(
            *(binding for part in parts for binding in part.bindings),
            *(DeclaredBinding(exchange, INGEST, key) for exchange, key in ingest_from),
        ),
    )


def queue_topology(name: str) -> Topology:
    """One shared queue, by its name, and its binding."""
    if name == INBOX:
        return Topology(queues=(DeclaredQueue(INBOX),), bindings=(DeclaredBinding(Exchange.REPORTS.value, INBOX, "#"),))
    if name == INGEST:
        return Topology(queues=(DeclaredQueue(INGEST),), bindings=(DeclaredBinding(Exchange.INGEST.value, INGEST, "#"),))
    if name == DEAD:
        # The exchange has the same name.
        return Topology(queues=(DeclaredQueue(DEAD),), bindings=(DeclaredBinding(DEAD, DEAD, ""),))
    _, kind, workspace, *words = name.split(".")
    if kind == "lane":
        queue = DeclaredQueue(name, QueueKind.CLASSIC, LANE_EXPIRES_MILLISECONDS)
        key = ".".join((workspace, LANE_WORD, *words))
    else:
        queue = DeclaredQueue(name)
        key = work_binding(workspace, words[0])
    return Topology(queues=(queue,), bindings=(DeclaredBinding(Exchange.WORK.value, name, key),))


async def declare(channel: AbstractChannel, wanted: Topology) -> None:
    """Makes exist what doesn't yet. What exists otherwise than `wanted` is an error of the broker's, and closes the channel.

    :param channel: aiormq's; of one of aio-pika's it is `await channel.get_underlay_channel()`.
    """
    for exchange in wanted.exchanges:
        await channel.exchange_declare(exchange.name, exchange_type=exchange.kind.value, durable=True, timeout=DECLARE_SECONDS)
    for queue in wanted.queues:
        await channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments), timeout=DECLARE_SECONDS)
    for binding in wanted.bindings:
        await channel.queue_bind(binding.queue, binding.exchange, binding.key, timeout=DECLARE_SECONDS)


async def check_exchanges(channel: AbstractChannel) -> None:
    """Fails as the broker does, and closes the channel, where an exchange that messages are published to is missing."""
    for exchange in Exchange:
        await channel.exchange_declare(exchange.value, passive=True, timeout=DECLARE_SECONDS)
