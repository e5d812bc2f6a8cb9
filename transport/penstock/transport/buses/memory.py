"""The bus inside one process: the same promises as a broker's, for as long as the process lives."""

import asyncio
import fnmatch
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from penstock.transport.bus import DEAD, INBOX, INGEST, Envelope, Exchange, Listener, Properties, queue_for_key


@dataclass(slots=True)
class _Queue:
    """Messages nobody has yet, oldest first, and whether each was delivered before. `arrived` is set while there are any."""

    waiting: deque[tuple[Envelope, bool]] = field(default_factory=deque[tuple[Envelope, bool]])
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, envelope: Envelope, *, redelivered: bool = False) -> None:
        if redelivered:
            self.waiting.appendleft((envelope, True))
        else:
            self.waiting.append((envelope, False))
        self.arrived.set()

    async def get(self) -> tuple[Envelope, bool]:
        while not self.waiting:
            self.arrived.clear()
            await self.arrived.wait()
        return self.waiting.popleft()


class MemoryDelivery:
    """A message taken from a queue; unacknowledged, it goes back when its consumer ends."""

    __slots__ = ("_consumer", "_redelivered", "envelope")

    def __init__(self, consumer: "MemoryConsumer", envelope: Envelope, *, redelivered: bool) -> None:
        self._consumer = consumer
        self.envelope = envelope
        self._redelivered = redelivered

    @property
    def body(self) -> bytes:
        return self.envelope.body

    @property
    def redelivered(self) -> bool:
        return self._redelivered

    @property
    def properties(self) -> Properties:
        return self.envelope.properties

    async def acknowledge(self) -> None:
        self._consumer.settle(self)

    async def give_back(self) -> None:
        if self._consumer.settle(self):
            self._consumer.queue.put(self.envelope, redelivered=True)

    async def refuse(self) -> None:
        if self._consumer.settle(self):
            self._consumer.dead.put(self.envelope)


class MemoryConsumer:
    """Deliveries of one queue to one consumer."""

    def __init__(self, queue: _Queue, dead: _Queue, prefetch: int) -> None:
        self.queue = queue
        self.dead = dead
        self._prefetch = prefetch
        self._held: dict[int, MemoryDelivery] = {}
        self._is_stopped = False
        self._room = asyncio.Event()
        self._room.set()

    def settle(self, delivery: MemoryDelivery) -> bool:
        self._room.set()
        return self._held.pop(id(delivery), None) is not None

    async def stop(self) -> None:
        self._is_stopped = True
        # Whoever waits for a message looks again.
        self._room.set()
        self.queue.arrived.set()

    async def __aiter__(self) -> AsyncGenerator[MemoryDelivery, None]:
        while not self._is_stopped:
            if len(self._held) >= self._prefetch:
                self._room.clear()
                await self._room.wait()
                continue
            if not self.queue.waiting:
                self.queue.arrived.clear()
                await self.queue.arrived.wait()
                continue
            envelope, redelivered = self.queue.waiting.popleft()
            delivery = MemoryDelivery(self, envelope, redelivered=redelivered)
            self._held[id(delivery)] = delivery
            yield delivery

    def close(self) -> None:
        for delivery in reversed(self._held.values()):
            self.queue.put(delivery.envelope, redelivered=True)
        self._held.clear()


@dataclass(slots=True)
class MemoryListener:
    """A private queue on an exchange."""

    name: str
    exchange: Exchange
    pattern: str
    queue: _Queue = field(default_factory=_Queue)

    def matches(self, envelope: Envelope) -> bool:
        """Whether a message is for it; in a pattern `*` is one word and `#` any number of them."""
        if envelope.reply_queue is not None:
            return envelope.reply_queue == self.name
        return envelope.exchange is self.exchange and (self.pattern == "#" or _matches(self.pattern, envelope.key))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            envelope, _ = await self.queue.get()
            yield envelope.body


class MemoryBus:
    """Queues in memory. A pool's queue exists from its first consumer or order on, so an order is never without one."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._listeners: list[MemoryListener] = []
        self._named = 0

    async def publish(self, envelope: Envelope) -> None:
        queue = None if envelope.reply_queue is not None else _shared_queue(envelope)
        if queue is not None:
            self._queue(queue).put(envelope)
            return
        for listener in self._listeners:
            if listener.matches(envelope):
                listener.queue.put(envelope)

    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncGenerator[MemoryConsumer, None]:
        consumer = MemoryConsumer(self._queue(queue), self._queue(DEAD), prefetch)
        try:
            yield consumer
        finally:
            consumer.close()

    @asynccontextmanager
    async def listen(self, exchange: Exchange, key: str = "#") -> AsyncGenerator[Listener, None]:
        self._named += 1
        listener = MemoryListener(f"listener-{self._named}", exchange, key)
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)

    def _queue(self, name: str) -> _Queue:
        if name not in self._queues:
            self._queues[name] = _Queue()
        return self._queues[name]


def _shared_queue(envelope: Envelope) -> str | None:
    match envelope.exchange:
        case Exchange.WORK:
            return queue_for_key(envelope.key)
        case Exchange.REPORTS:
            return INBOX
        case Exchange.INGEST:
            return INGEST
        case _:
            return None


def _matches(pattern: str, key: str) -> bool:
    if "#" in pattern:
        return key.startswith(pattern.split("#", 1)[0])
    wanted, parts = pattern.split("."), key.split(".")
    return len(wanted) == len(parts) and all(fnmatch.fnmatchcase(part, want) for part, want in zip(parts, wanted, strict=True))
