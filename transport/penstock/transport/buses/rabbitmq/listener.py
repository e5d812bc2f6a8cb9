"""A private queue: exclusive to its connection, without acknowledgements, gone when it is no longer listened to."""

import asyncio
import contextlib
import secrets
from collections import deque

from aiormq.abc import AbstractConnection
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from penstock.contracts.errors import BusUnavailable
from penstock.transport.bus import Exchange
from penstock.transport.buses.rabbitmq.channel import BusChannel, open_channel, unused
from penstock.transport.buses.rabbitmq.consumer import CALL_SECONDS, CLOSE_SECONDS
from penstock.transport.buses.rabbitmq.failures import translated


class RabbitListener:
    """Bodies, as they come."""

    def __init__(self, channel: BusChannel, name: str) -> None:
        self._channel = channel
        self._name = name
        self._arrived: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._failure: str | None = None

    @property
    def name(self) -> str:
        return self._name

    async def start(self, exchange: Exchange, key: str | None) -> None:
        self._channel.on_closed(self._fail)
        self._channel.receive = self._take
        self._channel.on_consumer_cancel_callbacks.add(lambda _: self._fail("the broker ended it: the queue was deleted"))
        await self._channel.queue_declare(self._name, exclusive=True, auto_delete=True, timeout=CALL_SECONDS)
        await self._channel.queue_bind(self._name, exchange.value, self._name if key is None else key, timeout=CALL_SECONDS)
        await self._channel.basic_consume(self._name, unused, no_ack=True, timeout=CALL_SECONDS)

    def __aiter__(self) -> "RabbitListener":
        return self

    async def __anext__(self) -> bytes:
        while not self._arrived:
            if self._failure is not None:
                raise BusUnavailable(f"listening on {self._name!r}: {self._failure}")
            self._news.clear()
            await self._news.wait()
        return self._arrived.popleft()

    async def close(self) -> None:
        with contextlib.suppress(BusUnavailable), translated(f"closing the listener {self._name!r}"):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._channel.close()

    def _take(self, _frame: Basic.Deliver, _header: ContentHeader, body: bytes) -> None:
        self._arrived.append(body)
        self._news.set()

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._news.set()


async def open_listener(connection: AbstractConnection, user: str, exchange: Exchange, key: str | None = "#") -> RabbitListener:
    """A new queue, named so that the user's permissions can be limited to its own. Without a key it is bound by its own name."""
    listener = None
    try:
        with translated(f"listening to {exchange}"):
            listener = RabbitListener(await open_channel(connection), f"r.{user}.{secrets.token_hex(8)}")
            await listener.start(exchange, key)
    except BaseException:
        if listener is not None:
            await listener.close()
        raise
    return listener
