"""Consuming a shared queue: one channel a consumer, deliveries in the order of their tags, acknowledgements gathered."""

import asyncio
import contextlib
from collections import deque

import structlog
from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from penstock.contracts.errors import BusUnavailable
from penstock.transport.bus import Properties
from penstock.transport.buses.rabbitmq.channel import BusChannel, open_channel, unused
from penstock.transport.buses.rabbitmq.failures import translated
from penstock.transport.buses.rabbitmq.foreign import properties_of
from penstock.transport.buses.rabbitmq.topology import declare, queue_topology
from penstock.transport.buses.rabbitmq.wire import ack_frame, refuse_frame, requeue_frame

_log = structlog.get_logger(__name__)
CALL_SECONDS = 10.0
CLOSE_SECONDS = 2.0
"""A connection through which nothing passes holds nobody up for longer."""


class RabbitDelivery:
    """A message that the broker waits to hear about."""

    __slots__ = ("_consumer", "_frame", "_header", "body", "tag")

    def __init__(self, consumer: "RabbitConsumer", frame: Basic.Deliver, header: ContentHeader, body: bytes) -> None:
        self._consumer = consumer
        self._frame = frame
        self._header = header
        self.tag = frame.delivery_tag or 0
        self.body = body

    @property
    def redelivered(self) -> bool:
        return bool(self._frame.redelivered)

    @property
    def properties(self) -> Properties:
        """Read when it is asked for: most deliveries are our own, and nobody asks."""
        return properties_of(self._frame, self._header)

    async def acknowledge(self) -> None:
        self._consumer.acknowledge(self.tag)

    async def give_back(self) -> None:
        self._consumer.give_back(self.tag)

    async def refuse(self) -> None:
        self._consumer.refuse(self.tag)


class RabbitConsumer:
    """The deliveries of one queue on one channel.

    Acknowledgements of one turn of the event loop are sent together, as one where all up to a tag are done.
    """

    def __init__(self, channel: BusChannel, queue: str) -> None:
        self._channel = channel
        self._queue = queue
        self._tag = ""
        self._arrived: deque[RabbitDelivery] = deque()
        self._held: dict[int, None] = {}
        self._done: list[int] = []
        self._news = asyncio.Event()
        self._failure: str | None = None
        self._is_stopped = False

    async def start(self, prefetch: int) -> None:
        self._channel.on_closed(self._fail)
        self._channel.receive = self._take
        self._channel.on_consumer_cancel_callbacks.add(
            lambda _: self._fail("the broker ended it: the queue was deleted, or a delivery was held for longer than its consumer timeout")
        )
        await self._channel.basic_qos(prefetch_count=prefetch, timeout=CALL_SECONDS)
        begun = await self._channel.basic_consume(self._queue, unused, timeout=CALL_SECONDS)
        self._tag = begun.consumer_tag or ""

    def __aiter__(self) -> "RabbitConsumer":
        return self

    async def __anext__(self) -> RabbitDelivery:
        while True:
            if self._failure is not None:
                raise BusUnavailable(f"consuming {self._queue!r}: {self._failure}")
            if self._is_stopped:
                raise StopAsyncIteration
            if self._arrived:
                return self._arrived.popleft()
            self._news.clear()
            await self._news.wait()

    async def stop(self) -> None:
        if self._is_stopped or self._failure is not None:
            return
        self._is_stopped = True
        self._news.set()
        with translated(f"stopping to consume {self._queue!r}"):
            await self._channel.basic_cancel(self._tag, timeout=CALL_SECONDS)
            while self._arrived:
                self.give_back(self._arrived.popleft().tag)

    def acknowledge(self, tag: int) -> None:
        if self._settle(tag):
            if not self._done:
                asyncio.get_running_loop().call_soon(self._acknowledge)
            self._done.append(tag)

    def give_back(self, tag: int) -> None:
        if self._settle(tag):
            # Told at once: an acknowledgement of all up to a later tag must not overtake it.
            self._channel.write(requeue_frame(self._channel.number, tag))

    def refuse(self, tag: int) -> None:
        if self._settle(tag):
            self._channel.write(refuse_frame(self._channel.number, tag))

    async def close(self) -> None:
        """Whatever is held goes back to the queue."""
        if self._done:
            self._acknowledge()
        self._fail("its context has ended")
        with contextlib.suppress(BusUnavailable), translated(f"closing the consumer of {self._queue!r}"):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._channel.close()

    def _take(self, frame: Basic.Deliver, header: ContentHeader, body: bytes) -> None:
        delivery = RabbitDelivery(self, frame, header, body)
        self._held[delivery.tag] = None
        self._arrived.append(delivery)
        self._news.set()

    def _settle(self, tag: int) -> bool:
        """Whether the broker waits to hear of it. After a lost connection it doesn't: what it was not told of, it delivers again."""
        if self._failure is not None or tag not in self._held:
            _log.debug("delivery.not_settled", queue=self._queue, reason=self._failure or "it was settled before")
            return False
        del self._held[tag]
        return True

    def _acknowledge(self) -> None:
        tags, self._done = sorted(self._done), []
        if self._failure is not None:
            return
        oldest_held = next(iter(self._held), tags[-1] + 1)
        together = [tag for tag in tags if tag < oldest_held]
        number = self._channel.number
        if together:
            self._channel.write(ack_frame(number, together[-1], is_multiple=True))
        for tag in tags[len(together) :]:
            self._channel.write(ack_frame(number, tag, is_multiple=False))

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = reason
            self._arrived.clear()
            self._news.set()


async def open_consumer(connection: AbstractConnection, queue: str, prefetch: int) -> RabbitConsumer:
    """Consumes; a queue that does not exist is declared with its binding first.

    :raises BusUnavailable: there is no such queue, and the user may not declare it.
    """
    consumer = None
    try:
        with translated(f"consuming {queue!r}"):
            try:
                consumer = await _started(connection, queue, prefetch)
            except ChannelNotFoundEntity:
                await _declare(connection, queue)
                consumer = await _started(connection, queue, prefetch)
    except BaseException:
        # One that nobody gets would keep its deliveries.
        if consumer is not None:
            await consumer.close()
        raise
    return consumer


async def _started(connection: AbstractConnection, queue: str, prefetch: int) -> RabbitConsumer:
    channel = await open_channel(connection)
    consumer = RabbitConsumer(channel, queue)
    try:
        await consumer.start(prefetch)
    except BaseException:
        await consumer.close()
        raise
    return consumer


async def _declare(connection: AbstractConnection, queue: str) -> None:
    channel = await open_channel(connection)
    try:
        await declare(channel, queue_topology(queue))
    finally:
        await channel.close()
