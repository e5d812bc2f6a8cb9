"""What RabbitMQ and PostgreSQL on this machine can do at best, without Penstock: the limits of a step on the services."""

import asyncio
import statistics
import time
from dataclasses import dataclass

import aio_pika
import asyncpg

_MESSAGES = 2000
_IN_FLIGHT = 64
_ROUND_TRIPS = 200
_COMMITS = 100
_ROWS_A_COMMIT = 300
_BODY = b"x" * 600


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """Seconds each. `message`: one persistent message through a quorum queue, published and confirmed, consumed and acknowledged, with
    64 in flight. `message_alone`: the same, one at a time. `commit`: a transaction of one row; `row`: one of 300 rows in a transaction."""

    message: float
    message_alone: float
    commit: float
    row: float

    @property
    def step(self) -> float:
        """A step is an order and a report through the broker, and a row at least."""
        return 2 * self.message + self.row

    @property
    def hand_off(self) -> float:
        """From one step to the next: a report, a commit, an order."""
        return 2 * self.message_alone + self.commit


def service_limits(broker: str, database: str, runs: int) -> ServiceLimits:
    """Medians of `runs`."""
    found = [asyncio.run(_measured(broker, database)) for _ in range(runs)]
    message, alone, commit, row = (statistics.median(values) for values in zip(*found, strict=True))
    return ServiceLimits(message=message, message_alone=alone, commit=commit, row=row)


async def _measured(broker: str, database: str) -> tuple[float, float, float, float]:
    return (*await _messages(broker), *await _commits(database))


async def _messages(broker: str) -> tuple[float, float]:
    async with await aio_pika.connect(broker) as publishing, await aio_pika.connect(broker) as consuming:
        source, sink = await publishing.channel(publisher_confirms=True), await consuming.channel()
        await sink.set_qos(prefetch_count=4 * _IN_FLIGHT)
        queue = await sink.declare_queue("bench.limits", durable=True, arguments={"x-queue-type": "quorum"})
        # A quorum queue that has just been declared elects its leader first.
        await asyncio.sleep(1)
        arrived = asyncio.Semaphore(0)

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            await message.ack()
            arrived.release()

        await queue.consume(take)
        try:
            together = await _through(source, arrived, _MESSAGES, _IN_FLIGHT)
            return together, await _through(source, arrived, _ROUND_TRIPS, 1)
        finally:
            await queue.delete(if_unused=False, if_empty=False)


async def _through(source: aio_pika.abc.AbstractChannel, arrived: asyncio.Semaphore, count: int, in_flight: int) -> float:
    started = time.perf_counter()

    async def publish(number: int) -> None:
        for _ in range(number):
            message = aio_pika.Message(_BODY, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await source.default_exchange.publish(message, "bench.limits")
            if in_flight == 1:
                await arrived.acquire()

    await asyncio.gather(*(publish(count // in_flight) for _ in range(in_flight)))
    sent = count // in_flight * in_flight
    if in_flight > 1:
        for _ in range(sent):
            await arrived.acquire()
    return (time.perf_counter() - started) / sent


async def _commits(database: str) -> tuple[float, float]:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS bench_limits (number BIGSERIAL PRIMARY KEY, data TEXT)")
        alone = await _committed(connection, _COMMITS, 1)
        return alone, await _committed(connection, _COMMITS // 10, _ROWS_A_COMMIT) / _ROWS_A_COMMIT
    finally:
        await connection.execute("DROP TABLE bench_limits")
        await connection.close()


async def _committed(connection: "asyncpg.Connection[asyncpg.Record]", commits: int, rows: int) -> float:
    started = time.perf_counter()
    for _ in range(commits):
        async with connection.transaction():
            await connection.executemany("INSERT INTO bench_limits (data) VALUES ($1)", [("x" * 200,)] * rows)
    return (time.perf_counter() - started) / commits
