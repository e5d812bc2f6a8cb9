"""A connection for one operation of an operator: opened, used, closed. Services keep theirs by `link`."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import aio_pika
from aiormq.abc import AbstractChannel, AbstractConnection

from penstock.contracts.errors import BusUnavailable
from penstock.transport.buses.rabbitmq.address import Address
from penstock.transport.buses.rabbitmq.failures import refused_connection, translated

_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 1.0
_HEARTBEAT_SECONDS = 10
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Operation:
    connection: AbstractConnection

    async def on_channel(self, what: str, work: Callable[[AbstractChannel], Awaitable[ResultT]]) -> ResultT:
        """Does it on a channel of its own, because a refusal closes the channel.

        :param what: what is attempted, for the error
        :raises BusUnavailable: it failed, or the broker was lost.
        """
        with translated(what):
            channel = await self.connection.channel()
            try:
                return await work(channel)
            finally:
                with suppress(Exception):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await channel.close()


@asynccontextmanager
async def operation(address: Address, name: str) -> AsyncGenerator[Operation, None]:
    """:raises BusUnavailable: there is no connection; the text says why and what to do."""
    connection = await _connected(address, name)
    try:
        if connection.transport is None:
            raise BusUnavailable(f"RabbitMQ at {address} closed the connection at once")
        yield Operation(connection.transport.connection)
    finally:
        # What waits for a queue without leader holds its channel, so the end is not waited for longer than this.
        with suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await connection.close()


async def _connected(address: Address, name: str) -> aio_pika.abc.AbstractConnection:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await aio_pika.connect(address.url, heartbeat=_HEARTBEAT_SECONDS, client_properties={"connection_name": name})
    except Exception as error:
        raise refused_connection(address, error) from error
