"""The adapter as a whole: one connection to publish and one to consume, because a broker in need stops reading from those who publish."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiormq.abc import AbstractConnection

from penstock.transport.bus import Envelope, Exchange
from penstock.transport.buses.rabbitmq.address import parse_address
from penstock.transport.buses.rabbitmq.consumer import RabbitConsumer, open_consumer
from penstock.transport.buses.rabbitmq.link import Link, ended
from penstock.transport.buses.rabbitmq.listener import RabbitListener, open_listener
from penstock.transport.buses.rabbitmq.probe import Probe
from penstock.transport.buses.rabbitmq.publisher import Publisher, PublishSession, open_publishing


@dataclass(frozen=True, slots=True)
class BusPace:
    """How patient the bus is."""

    publish_seconds: float = 10.0
    """Until a message without a confirm counts as unknown."""
    probe_seconds: float = 15.0
    lost_seconds: float = 30.0
    """Until a ping that did not come back condemns the connections."""


@dataclass(frozen=True, slots=True)
class _ConsumeSession:
    connection: AbstractConnection


async def _open_consuming(connection: AbstractConnection, _: object) -> _ConsumeSession:
    return _ConsumeSession(connection)


class RabbitBus:
    """A bus over the broker at `url`, for as long as its context lasts. After a lost connection it comes back by itself.

    :param name: what operators see the connections as
    """

    def __init__(self, url: str, *, name: str, pace: BusPace | None = None) -> None:
        pace = pace or BusPace()
        self._address = parse_address(url)
        self._publishing: Link[PublishSession] = Link(self._address, f"{name} publishing", open_publishing)
        self._consuming: Link[_ConsumeSession] = Link(self._address, f"{name} consuming", _open_consuming)
        self._publisher = Publisher(self._publishing, self._address.user, pace.publish_seconds)
        self._probe = Probe(
            self._publisher,
            lambda: self._own_queue(Exchange.LOGS, None),
            self._condemn,
            seconds=pace.probe_seconds,
            lost_seconds=pace.lost_seconds,
        )
        self._probing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """:raises BusUnavailable: the broker can't be used; the text says why and what to do."""
        try:
            await self._publishing.open()
            await self._consuming.open()
        except BaseException:
            await self._close()
            raise
        self._probing = asyncio.create_task(self._probe.run(), name="bus-probe")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._close()

    async def publish(self, envelope: Envelope) -> None:
        await self._publisher.publish(envelope)

    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncGenerator[RabbitConsumer, None]:
        consumer = await open_consumer(self._consuming.current.connection, queue, prefetch)
        try:
            yield consumer
        finally:
            await consumer.close()

    @asynccontextmanager
    async def listen(self, exchange: Exchange, key: str = "#") -> AsyncGenerator[RabbitListener, None]:
        async with self._own_queue(exchange, key) as listener:
            yield listener

    @asynccontextmanager
    async def _own_queue(self, exchange: Exchange, key: str | None) -> AsyncGenerator[RabbitListener, None]:
        listener = await open_listener(self._consuming.current.connection, self._address.user, exchange, key)
        try:
            yield listener
        finally:
            await listener.close()

    def _condemn(self, reason: str) -> None:
        self._publishing.drop(reason)
        self._consuming.drop(reason)

    async def _close(self) -> None:
        if self._probing is not None:
            await ended(self._probing)
        await self._consuming.close()
        await self._publishing.close()
