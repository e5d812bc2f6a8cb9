"""A step that lasts for longer than the broker lets anybody hold a message, while the broker is restarted twice: it is executed once."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from tests.faults.trial import Trial, trial
from tests.faults.witness import Journal
from tests.faults.workload import lasting
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer

LABEL = "long"


@dataclass(frozen=True, slots=True)
class LongStep:
    """Seconds. The broker looks each `check_seconds` for who has held a message for longer than `consumer_timeout`."""

    seconds: float | None
    """None: it ends when the broker was restarted twice."""
    consumer_timeout: float
    check_seconds: float = 60.0

    @property
    def longest(self) -> float:
        return self.seconds or 600.0


def impatient_broker(sizes: LongStep) -> RabbitServer:
    """Not started."""
    broker = RabbitServer({"consumer_timeout": str(int(sizes.consumer_timeout * 1000))})
    interval = int(sizes.check_seconds * 1000)
    (broker.folder / "advanced.config").write_text(f"[{{rabbit, [{{channel_tick_interval, {interval}}}]}}].\n")
    return broker


def run_long_step(folder: Path, sizes: LongStep, say: Callable[[str], None], database: PostgresServer | None = None) -> None:
    """:raises AssertionError: it was executed more than once, or the broker was not as impatient as it should have been."""
    with (
        impatient_broker(sizes) as broker,
        trial(folder, coordinators=2, runners=[{"cpu": 1}, {"cpu": 1}], broker=broker, database=database) as started,
    ):
        journal = started.journal("long")
        gate = folder / "gate"
        began = time.monotonic()
        run = started.begin(lasting, label=LABEL, journal=str(journal.path), seconds=sizes.longest, gate=str(gate))
        started.until(lambda: journal.is_running(LABEL), "the step runs")
        held = asyncio.run(seconds_until_closed(broker.url(), sizes))
        say(f"the broker closed the channel of one who held a message of its own after {held:.1f} s")
        # In order it takes 20 s to go.
        ends = (broker.stop, broker.kill) if sizes.seconds is not None else (broker.kill, broker.kill)
        for number, end in enumerate(ends, 1):
            _wait_for(started, journal, began + (sizes.seconds or 0.0) * (0.35 + 0.25 * number))
            stopped_at = time.monotonic()
            end()
            broker.start()
            say(f"broker restarted ({end.__name__}) after {stopped_at - began:.1f} s, in {time.monotonic() - stopped_at:.1f} s")
        if sizes.seconds is None:
            gate.touch()
        state = started.wait(run, sizes.longest + 120)
        attempts = started.attempts(run, "last_long")
        say(f"{state} after {time.monotonic() - began:.1f} s: {journal.counts()[LABEL]} execution, attempts {attempts}")
        assert state == "succeeded"
        assert journal.counts() == {LABEL: 1}
        assert attempts == ["succeeded"]
        started.check(run, journal)


def _wait_for(started: Trial, journal: Journal, moment: float) -> None:
    started.until(lambda: time.monotonic() > moment, "the broker's next restart", 3600)
    assert journal.is_running(LABEL), "the step ended too soon to be put to the test"


async def seconds_until_closed(url: str, sizes: LongStep) -> float:
    """How long the broker bears one who holds a message without acknowledging it: what a runner would meet that held its orders.

    :raises TimeoutError: for ever.
    """
    closed = asyncio.Event()

    async def hold(_: AbstractIncomingMessage) -> None:
        began.append(time.monotonic())

    def on_closed(_: AbstractChannel | None, __: BaseException | None) -> None:
        closed.set()

    began: list[float] = []
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        channel.close_callbacks.add(on_closed)
        queue = await channel.declare_queue("held", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"held"), queue.name)
        await queue.consume(hold)
        async with asyncio.timeout(sizes.consumer_timeout + 3 * sizes.check_seconds + 10):
            await closed.wait()
        seconds = time.monotonic() - began[0]
        with contextlib.suppress(aio_pika.exceptions.AMQPError):
            await (await connection.channel()).queue_delete("held")
    return seconds
