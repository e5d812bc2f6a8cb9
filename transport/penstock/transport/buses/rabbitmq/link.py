"""A connection that is always being kept: whatever ends it, everything built on it is dropped, and all is built again.

Nothing survives a connection: no channel, consumer or confirmation is carried over to the next.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import aio_pika
import structlog
from aiormq.abc import AbstractConnection
from typing_extensions import override

from penstock.contracts.errors import BusUnavailable
from penstock.transport.buses.rabbitmq.address import Address
from penstock.transport.buses.rabbitmq.channel import BusChannel
from penstock.transport.buses.rabbitmq.failures import refused_connection
from penstock.transport.buses.rabbitmq.reading import read_safely

_log = structlog.get_logger(__name__)
HEARTBEAT_SECONDS = 10
"""A silent peer is given up after three of these."""
CONNECT_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0
_CLOSE_SECONDS = 3.0
_CANCEL_SECONDS = 0.5


class _Connection(aio_pika.Connection):
    """One that was never made ends silently: aio-pika's would be closed by the collector, in whatever thread that happens."""

    @override
    def __del__(self) -> None:
        pass


class Session(Protocol):
    """What is built on one connection and lives as long."""

    @property
    def connection(self) -> AbstractConnection: ...


SessionT = TypeVar("SessionT", bound=Session)


Build = Callable[[AbstractConnection, Callable[[str], None]], Awaitable[SessionT]]
"""Makes a session on a fresh connection, and calls the second argument with a reason when something of it has ended."""


class Link(Generic[SessionT]):
    """Keeps one connection, and on it the session that `build` makes."""

    def __init__(self, address: Address, name: str, build: Build[SessionT]) -> None:
        self._address = address
        self._name = name
        self._build: Build[SessionT] = build
        self._session: SessionT | None = None
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._lost = asyncio.Event()
        self._reason = "not connected yet"
        self._keeper: asyncio.Task[None] | None = None

    @property
    def current(self) -> SessionT:
        """:raises BusUnavailable: there is no connection at this moment."""
        if self._session is None:
            raise BusUnavailable(f"no connection to RabbitMQ at {self._address}: {self._reason}")
        return self._session

    async def open(self) -> None:
        """The first connection. Later ones come by themselves.

        :raises BusUnavailable: saying why there is none, and what to do.
        """
        await self._connect()
        self._keeper = asyncio.create_task(self._keep(), name=f"bus-{self._name}")

    async def close(self) -> None:
        if self._keeper is not None:
            await ended(self._keeper)
        self._reason = "the bus is closed"
        await self._disconnect()

    def drop(self, reason: str) -> None:
        """Gives the connection up; another one is made."""
        if not self._lost.is_set():
            self._reason = reason
            self._session = None
            self._lost.set()

    async def _keep(self) -> None:
        while True:
            await self._lost.wait()
            _log.warning("bus.lost", connection=self._name, broker=str(self._address), reason=self._reason)
            await self._disconnect()
            await self._reconnect()
            _log.info("bus.connected", connection=self._name, broker=str(self._address))

    async def _reconnect(self) -> None:
        longest = _FIRST_PAUSE_SECONDS
        while True:
            # Drawn, so that the services of one broker don't come back at the same moment.
            await asyncio.sleep(random.uniform(0.0, longest))  # noqa: S311  # no secret
            try:
                await self._connect()
            except BusUnavailable as error:
                if self._reason != str(error):
                    _log.warning("bus.not_connected", connection=self._name, reason=str(error))
                self._reason = str(error)
                longest = min(longest * 2, _LONGEST_PAUSE_SECONDS)
            else:
                return

    async def _connect(self) -> None:
        self._lost = lost = asyncio.Event()
        read_safely()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = self._connection = await aio_pika.connect(
                    self._address.url,
                    heartbeat=HEARTBEAT_SECONDS,
                    client_properties={"connection_name": self._name},
                    connection_class=_Connection,
                )
                transport = _transport(connection)
                connection.close_callbacks.add(lambda _, error: self._ended(lost, str(error or "") or "the connection was closed"))
                self._session = await self._build(transport, lambda reason: self._ended(lost, reason))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            await self._disconnect()
            raise refused_connection(self._address, ConnectionError("the connection was lost at once")) from error
        except Exception as error:
            await self._disconnect()
            raise refused_connection(self._address, error) from error

    def _ended(self, lost: asyncio.Event, reason: str) -> None:
        # A callback of a connection that was given up earlier is about nothing any more.
        if lost is self._lost:
            self.drop(reason)

    async def _disconnect(self) -> None:
        self._session = None
        connection, self._connection = self._connection, None
        if connection is not None:
            _abandon(connection, self._reason)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await connection.close()


def _abandon(connection: aio_pika.abc.AbstractConnection, reason: str) -> None:
    if connection.transport is not None:
        for channel in list(connection.transport.connection.channels.values()):
            if isinstance(channel, BusChannel):
                channel.abandon(reason)


async def ended(task: "asyncio.Task[None]") -> None:
    """Cancels a task until it has ended: the library swallows a cancellation that meets it while it opens or closes a connection."""
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_CANCEL_SECONDS)


def _transport(connection: aio_pika.abc.AbstractConnection) -> AbstractConnection:
    if connection.transport is None:
        raise ConnectionError("the connection was closed at once")
    return connection.transport.connection
