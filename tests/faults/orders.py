"""Orders on the broker as a test lays hands on them: looked at, delivered again, sent twice, and messages that nobody understands."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aio_pika
import msgpack
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

T = TypeVar("T")


async def on_channel(url: str, work: Callable[[AbstractChannel], Awaitable[T]]) -> T:
    async with await aio_pika.connect(url) as connection:
        return await work(await connection.channel())


def provoke_redeliveries(url: str, queue: str, times: int) -> bytes:
    """Takes the only message of the queue and has it delivered again, so often; half of the times by a rejection, half of the times
    because the one who held it was cut off. Returns its body."""

    async def take(channel: AbstractChannel) -> AbstractIncomingMessage:
        pool = await channel.get_queue(queue, ensure=False)
        async with asyncio.timeout(30):
            while (message := await pool.get(no_ack=False, fail=False)) is None:
                await asyncio.sleep(0.02)
        return message

    async def reject(channel: AbstractChannel) -> bytes:
        body = b""
        for _ in range(times // 2):
            message = await take(channel)
            body = message.body
            await message.nack(requeue=True)
        return body

    async def all_ways() -> bytes:
        for _ in range(times - times // 2):
            await on_channel(url, take)
        return await on_channel(url, reject)

    return asyncio.run(all_ways())


def send_to_queue(url: str, queue: str, body: bytes, times: int = 1) -> None:
    """Puts messages straight into a queue."""

    async def send(channel: AbstractChannel) -> None:
        for _ in range(times):
            await channel.default_exchange.publish(aio_pika.Message(body, delivery_mode=2), queue, mandatory=True)

    asyncio.run(on_channel(url, send))


def send_to_exchange(url: str, exchange: str, key: str, body: bytes) -> None:
    async def send(channel: AbstractChannel) -> None:
        found = await channel.get_exchange(exchange, ensure=False)
        await found.publish(aio_pika.Message(body), key, mandatory=False)

    asyncio.run(on_channel(url, send))


def of_the_future(kind: str) -> bytes:
    """A message of a version that nobody reads yet."""
    return packed({"type": kind, "version": 999, "attempt": [1, 1, 0, 1]})


def packed(payload: object) -> bytes:
    return bytes(msgpack.packb(["", msgpack.packb(payload), b""]))


POISON = {
    "no message": b"\xff\x00 no message",
    "nothing": b"",
    "another type": packed({"type": "gift", "version": 1}),
    "no fields": packed({"type": "reports", "version": 1}),
    "a list": packed([1, 2, 3]),
    "extension types": bytes(msgpack.packb(msgpack.ExtType(1, b"x"))),
    "too long": packed({"type": "order", "version": 1, "junk": "x" * 400_000}),
}
"""Bodies that nobody can make sense of, by what is wrong."""
