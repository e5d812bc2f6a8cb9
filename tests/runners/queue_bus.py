"""A bus in memory for these tests: what was published is kept by exchange, orders are put into a pool's queue by hand."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from typing_extensions import override

from penstock.contracts.errors import BusUnavailable
from penstock.contracts.messages import AttemptKey, Claim, Completed, Heartbeat, Message, Order, Released, Reports, Started, decode, encode
from penstock.transport.bus import Bus, Consumer, Delivery, Envelope, Exchange, Listener, Properties, work_queue


@dataclass(eq=False)
class QueuedDelivery(Delivery):
    queue: "asyncio.Queue[QueuedDelivery]"
    content: bytes
    was_seen: bool = False
    is_refused: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    @override
    def body(self) -> bytes:
        return self.content

    @property
    @override
    def redelivered(self) -> bool:
        return self.was_seen

    @property
    @override
    def properties(self) -> Properties:
        return Properties()

    @override
    async def acknowledge(self) -> None:
        self.done.set()

    @override
    async def give_back(self) -> None:
        self.was_seen = True
        self.queue.put_nowait(self)

    @override
    async def refuse(self) -> None:
        self.is_refused = True
        self.done.set()


T = TypeVar("T", Started, Completed, Released, Claim)


class QueuedConsumer(Consumer):
    def __init__(self, bus: "QueueBus", queue: "asyncio.Queue[QueuedDelivery]") -> None:
        self.bus = bus
        self.queue = queue
        self.handed: list[QueuedDelivery] = []
        self.stopped = asyncio.Event()

    @override
    async def __aiter__(self) -> AsyncIterator[QueuedDelivery]:
        while not self.stopped.is_set():
            getting = asyncio.ensure_future(self.queue.get())
            ends = [asyncio.ensure_future(event.wait()) for event in (self.bus.loss, self.stopped)]
            await asyncio.wait((getting, *ends), return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            if getting.done():
                self.handed.append(getting.result())
                yield self.handed[-1]
                continue
            getting.cancel()
            if self.bus.loss.is_set():
                raise BusUnavailable("the connection was cut")

    @override
    async def stop(self) -> None:
        self.stopped.set()


class QueueListener(Listener):
    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    @property
    @override
    def name(self) -> str:
        return f"listener-{id(self)}"

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.queue.get()


class QueueBus(Bus):
    """`reports` grows as reports come in; `reported` wakes those who wait for one. `cut` ends every consumer, `mend` lets them back."""

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[QueuedDelivery]] = {}
        self.listeners: list[QueueListener] = []
        self.loss = asyncio.Event()
        self.reports: list[Started | Completed | Released | Claim] = []
        self.batches: list[int] = []
        self.heartbeats: list[Heartbeat] = []
        self.changed = asyncio.Condition()
        self.listening = asyncio.Event()
        self.refused = asyncio.Event()
        """Somebody was told that the connection is cut."""

    @override
    async def publish(self, envelope: Envelope) -> None:
        self._refuse_if_cut()
        message = decode(envelope.body)
        async with self.changed:
            if isinstance(message, Reports):
                self.batches.append(len(message.reports))
                self.reports += message.reports
            elif isinstance(message, Heartbeat) and envelope.exchange == Exchange.VITALS:
                self.heartbeats.append(message)
            self.changed.notify_all()

    @override
    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncGenerator[Consumer, None]:
        self._refuse_if_cut()
        consumer = QueuedConsumer(self, self.queue(queue))
        try:
            yield consumer
        finally:
            for delivery in consumer.handed:
                if not delivery.done.is_set():
                    await delivery.give_back()

    @override
    @asynccontextmanager
    async def listen(self, exchange: Exchange, key: str = "#") -> AsyncGenerator[Listener, None]:
        listener = QueueListener()
        self.listeners.append(listener)
        self.listening.set()
        try:
            yield listener
        finally:
            self.listeners.remove(listener)

    def _refuse_if_cut(self) -> None:
        if self.loss.is_set():
            self.refused.set()
            raise BusUnavailable("the connection was cut")

    def queue(self, name: str) -> "asyncio.Queue[QueuedDelivery]":
        return self.queues.setdefault(name, asyncio.Queue())

    def put(self, order: Order | bytes, *, redelivered: bool = False) -> QueuedDelivery:
        body = order if isinstance(order, bytes) else encode(order)
        queue = self.queue(work_queue("default", order.pool if isinstance(order, Order) else "cpu"))
        delivery = QueuedDelivery(queue, body, redelivered)
        queue.put_nowait(delivery)
        return delivery

    def tell(self, message: Message) -> None:
        """Sends to every listener."""
        for listener in self.listeners:
            listener.queue.put_nowait(encode(message))

    async def report(self, kind: type[T], attempt: AttemptKey) -> T:
        """The first such report of the attempt, as soon as it comes."""
        async with asyncio.timeout(20), self.changed:
            while True:
                for report in self.reports:
                    if isinstance(report, kind) and report.attempt == attempt:
                        return report
                await self.changed.wait()
