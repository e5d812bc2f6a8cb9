"""What tests of the bus on RabbitMQ share."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aio_pika
from aiormq.abc import AbstractChannel

from penstock.transport.buses.rabbitmq.topology import Topology, declare


@asynccontextmanager
async def raw_channel(url: str) -> AsyncGenerator[AbstractChannel, None]:
    """A channel as an operator's tool would have it."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        yield await channel.get_underlay_channel()


async def declared(url: str, wanted: Topology) -> None:
    async with asyncio.timeout(30), raw_channel(url) as channel:
        await declare(channel, wanted)


async def emptied(url: str, wanted: Topology) -> None:
    async with asyncio.timeout(30), raw_channel(url) as channel:
        for queue in wanted.queues:
            await channel.queue_purge(queue.name)
