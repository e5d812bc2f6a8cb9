"""A bus that keeps the port's promises and no others: late, reordered, repeated, with lost confirms and cut connections.

Without faults it is an ordinary adapter, and passes the same conformance suite as the others.
"""

import asyncio
import contextvars
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from penstock.contracts.errors import BusUnavailable
from penstock.transport.bus import DEAD, INBOX, INGEST, Envelope, Exchange, Properties, queue_for_key

LANE_QUEUES = "penstock.lane."
LANE_SECONDS = 60.0
"""So long the queue of a lane outlives its last consumer."""


@dataclass(slots=True)
class BusFaults:
    """How likely each thing is, for one message or one call."""

    refused: float = 0.0
    """A publish fails, and nothing was delivered."""
    unconfirmed: float = 0.0
    """A publish fails, and the message was delivered."""
    late: float = 0.0
    late_seconds: float = 0.0
    overtakes: float = 0.0
    """A message comes before others that were there earlier."""
    repeated: float = 0.0
    """An acknowledgement gets lost: the message comes again, marked as redelivered."""
    dropped: float = 0.0
    """A message that nothing is promised for does not arrive."""
    cancelled: float = 0.0
    """A consumer is cancelled by the bus after a delivery."""


@dataclass(slots=True)
class _Queue:
    waiting: list[tuple[Envelope, bool]] = field(default_factory=list[tuple[Envelope, bool]])
    consumers: "list[SimConsumer]" = field(default_factory=lambda: list[SimConsumer]())
    uses: int = 0
    """How often somebody has begun to consume it."""

    def wake(self) -> None:
        for consumer in self.consumers:
            consumer.changed.set()


class SimBroker:
    """What all connections share."""

    def __init__(self, rng: random.Random, trace: Callable[..., None] = lambda *_: None) -> None:
        self.rng = rng
        self.faults = BusFaults()
        self.trace = trace
        self.queues: dict[str, _Queue] = {}
        self.listeners: list[SimListener] = []
        self.named = 0
        self.lanes: set[str] = set()
        """Queues of served steps that exist."""

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability

    def queue(self, name: str) -> _Queue:
        return self.queues.setdefault(name, _Queue())

    def depth(self) -> int:
        """Messages that nobody has acknowledged."""
        return sum(len(queue.waiting) + sum(len(consumer.held) for consumer in queue.consumers) for queue in self.queues.values())

    def purge(self, name: str) -> None:
        """An operator's mistake, or a queue that lost its disk."""
        self.queue(name).waiting.clear()

    def has_queue_for(self, envelope: Envelope) -> bool:
        """Whether a queue takes it; only those of lanes come and go."""
        if envelope.exchange is not Exchange.WORK or envelope.reply_queue is not None:
            return True
        name = queue_for_key(envelope.key)
        return not name.startswith(LANE_QUEUES) or name in self.lanes

    def expire(self, name: str) -> None:
        """Of the queue of a lane that nobody consumes for a while nothing is left."""
        queue = self.queue(name)
        if not queue.consumers and name in self.lanes:
            self.later(LANE_SECONDS, lambda: self._end_lane(name, queue.uses))

    def _end_lane(self, name: str, uses: int) -> None:
        queue = self.queue(name)
        if not queue.consumers and queue.uses == uses:
            self.lanes.discard(name)
            queue.waiting.clear()

    def route(self, envelope: Envelope) -> None:
        if envelope.reply_queue is None and envelope.exchange is Exchange.WORK:
            self._soon(lambda: self.put(queue_for_key(envelope.key), envelope))
        elif envelope.reply_queue is None and envelope.exchange is Exchange.REPORTS:
            self._soon(lambda: self.put(INBOX, envelope))
        elif envelope.reply_queue is None and envelope.exchange is Exchange.INGEST:
            self._soon(lambda: self.put(INGEST, envelope))
        else:
            for listener in self.listeners:
                if listener.wants(envelope) and not self.chance(self.faults.dropped):
                    self._soon(partial(listener.put, envelope.body))

    def put(self, name: str, envelope: Envelope, *, redelivered: bool = False) -> None:
        queue = self.queue(name)
        at = len(queue.waiting)
        if redelivered:
            at = 0
        elif self.chance(self.faults.overtakes):
            at = self.rng.randint(0, at)
        queue.waiting.insert(at, (envelope, redelivered))
        queue.wake()

    def _soon(self, put: Callable[[], None]) -> None:
        if self.chance(self.faults.late):
            self.later(self.rng.random() * self.faults.late_seconds, put)
        else:
            put()

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """The bus acts by itself, whatever became of whoever caused it."""
        asyncio.get_running_loop().call_later(seconds, act, context=contextvars.Context())


class SimDelivery:
    def __init__(self, consumer: "SimConsumer", envelope: Envelope, *, redelivered: bool) -> None:
        self._consumer = consumer
        self.envelope = envelope
        self._redelivered = redelivered

    @property
    def body(self) -> bytes:
        return self.envelope.body

    @property
    def properties(self) -> Properties:
        return self.envelope.properties

    @property
    def redelivered(self) -> bool:
        return self._redelivered

    async def acknowledge(self) -> None:
        broker = self._consumer.connection.broker
        if self._consumer.settle(self) and broker.chance(broker.faults.repeated):
            broker.later(broker.rng.random() * 3, lambda: broker.put(self._consumer.name, self.envelope, redelivered=True))

    async def give_back(self) -> None:
        if self._consumer.settle(self):
            self._consumer.connection.broker.put(self._consumer.name, self.envelope, redelivered=True)

    async def refuse(self) -> None:
        if self._consumer.settle(self):
            self._consumer.connection.broker.put(DEAD, self.envelope)


class SimConsumer:
    def __init__(self, connection: "SimBus", name: str, prefetch: int) -> None:
        self.connection = connection
        self.name = name
        self.queue = connection.broker.queue(name)
        self.prefetch = prefetch
        self.held: list[SimDelivery] = []
        self.changed = asyncio.Event()
        self.is_stopped = False
        self.is_broken = False

    def settle(self, delivery: SimDelivery) -> bool:
        self.changed.set()
        if delivery not in self.held:
            return False
        self.held.remove(delivery)
        return True

    async def stop(self) -> None:
        self.is_stopped = True
        self.changed.set()

    async def __aiter__(self) -> AsyncGenerator[SimDelivery, None]:
        broker = self.connection.broker
        while not self.is_stopped:
            if self.is_broken:
                raise BusUnavailable("the connection was cut")
            if not self.queue.waiting or len(self.held) >= self.prefetch:
                self.changed.clear()
                await self.changed.wait()
                continue
            envelope, redelivered = self.queue.waiting.pop(0)
            delivery = SimDelivery(self, envelope, redelivered=redelivered)
            self.held.append(delivery)
            if broker.chance(broker.faults.cancelled):
                broker.later(broker.rng.random(), self.break_off)
            await self.connection.pause()
            yield delivery

    def break_off(self) -> None:
        """Its connection is gone: what it had not acknowledged is delivered again."""
        self.is_broken = True
        held, self.held = self.held, []
        for delivery in reversed(held):
            self.connection.broker.put(self.name, delivery.envelope, redelivered=True)
        self.changed.set()


class SimListener:
    def __init__(self, name: str, exchange: Exchange, pattern: str) -> None:
        self._name = name
        self.exchange = exchange
        self.pattern = pattern
        self.bodies: list[bytes] = []
        self.changed = asyncio.Event()
        self.is_broken = False

    @property
    def name(self) -> str:
        return self._name

    def wants(self, envelope: Envelope) -> bool:
        if envelope.reply_queue is not None:
            return envelope.reply_queue == self._name
        return envelope.exchange is self.exchange and _matches(self.pattern, envelope.key)

    def put(self, body: bytes) -> None:
        self.bodies.append(body)
        self.changed.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self.is_broken:
                raise BusUnavailable("the connection was cut")
            if self.bodies:
                yield self.bodies.pop(0)
                continue
            self.changed.clear()
            await self.changed.wait()


class SimBus:
    """One party's connection."""

    def __init__(self, broker: SimBroker) -> None:
        self.broker = broker
        self.is_down = False
        self.consumers: list[SimConsumer] = []
        self.listeners: list[SimListener] = []

    async def pause(self) -> None:
        """A way over the network: whoever waits may die or be overtaken here."""
        seconds = self.broker.rng.random() * 0.02 if self.broker.chance(0.2) else 0.0
        await asyncio.sleep(seconds)

    async def publish(self, envelope: Envelope) -> None:
        faults = self.broker.faults
        await self.pause()
        self._fail("the message was not taken", faults.refused)
        if not self.broker.has_queue_for(envelope):
            raise BusUnavailable("no queue takes the message")
        self.broker.route(envelope)
        self.broker.trace("publish", envelope.exchange, len(envelope.body))
        await self.pause()
        self._fail("there was no confirmation", faults.unconfirmed)

    def _fail(self, reason: str, probability: float) -> None:
        if self.is_down or self.broker.chance(probability):
            raise BusUnavailable(reason)

    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncGenerator[SimConsumer, None]:
        if self.is_down:
            raise BusUnavailable("there is no connection")
        consumer = SimConsumer(self, queue, prefetch)
        if queue.startswith(LANE_QUEUES):
            self.broker.lanes.add(queue)
        consumer.queue.uses += 1
        consumer.queue.consumers.append(consumer)
        self.consumers.append(consumer)
        try:
            yield consumer
        finally:
            self._forget(consumer)

    def _forget(self, consumer: SimConsumer) -> None:
        consumer.break_off()
        if consumer in self.consumers:
            self.consumers.remove(consumer)
            consumer.queue.consumers.remove(consumer)
            self.broker.expire(consumer.name)

    @asynccontextmanager
    async def listen(self, exchange: Exchange, key: str = "#") -> AsyncGenerator[SimListener, None]:
        if self.is_down:
            raise BusUnavailable("there is no connection")
        self.broker.named += 1
        listener = SimListener(f"listener-{self.broker.named}", exchange, key)
        self.broker.listeners.append(listener)
        self.listeners.append(listener)
        try:
            yield listener
        finally:
            self._unbind(listener)

    def _unbind(self, listener: SimListener) -> None:
        if listener in self.listeners:
            self.listeners.remove(listener)
            self.broker.listeners.remove(listener)

    def cut(self) -> None:
        """The connection is lost; until `mend` there is no other."""
        self.is_down = True
        for consumer in list(self.consumers):
            self._forget(consumer)
        for listener in list(self.listeners):
            self._unbind(listener)
            listener.is_broken = True
            listener.changed.set()

    def mend(self) -> None:
        self.is_down = False


def _matches(pattern: str, key: str) -> bool:
    """`*` is one word of a key, `#` any number of them."""
    words = {"*": r"[^.]+", "#": ".*"}
    return re.fullmatch(r"\.".join(words.get(word, re.escape(word)) for word in pattern.split(".")), key) is not None
