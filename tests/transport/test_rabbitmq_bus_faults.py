"""The bus on a RabbitMQ that fails: nothing confirmed is lost, every failure is said as what it is, and the bus comes back by itself."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from yarl import URL

from penstock.contracts.errors import BusUnavailable
from penstock.transport.bus import Delivery, Envelope, Exchange, work_key, work_queue
from penstock.transport.buses.rabbitmq import RabbitBus
from penstock.transport.buses.rabbitmq.bus import BusPace
from penstock.transport.buses.rabbitmq.failures import translated
from penstock.transport.buses.rabbitmq.topology import topology
from tests.servers.rabbitmq import RabbitServer, VirtualHost
from tests.transport.proxy import Proxy, proxied
from tests.transport.rabbit import declared, raw_channel

POOL = work_queue("default", "cpu")
RECOVERY_SECONDS = 40
SHORT = BusPace(publish_seconds=0.5, probe_seconds=0.2, lost_seconds=1.0)
PATIENT = BusPace(publish_seconds=5.0)


def order(body: bytes = b"order") -> Envelope:
    return Envelope(exchange=Exchange.WORK, key=work_key("default", "cpu", "pipeline", "train"), body=body)


async def first(deliveries: AsyncIterator[Delivery]) -> Delivery:
    async with asyncio.timeout(10):
        return await anext(deliveries)


async def recovered(call: Callable[[], Awaitable[None]]) -> None:
    """Until the bus is back, as its users do it: by trying again."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            try:
                return await call()
            except BusUnavailable:
                await asyncio.sleep(0.05)


async def consumed(bus: RabbitBus, body: bytes) -> None:
    async with bus.consume(POOL, prefetch=1) as consumer:
        delivery = await first(aiter(consumer))
        while delivery.body != body:
            await delivery.acknowledge()
            delivery = await first(aiter(consumer))
        await delivery.acknowledge()


async def without_end(call: Callable[[], Awaitable[None]]) -> None:
    while True:
        await call()
        await asyncio.sleep(0)


@pytest.fixture
async def url(vhost: VirtualHost) -> str:
    await declared(vhost.url, topology([("default", "cpu")]))
    return vhost.url


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[Proxy]:
    async with proxied(url) as proxy:
        yield proxy


class Load:
    """Publishes numbers and consumes them for as long as it runs, through whatever happens."""

    def __init__(self, bus: RabbitBus) -> None:
        self._bus = bus
        self.confirmed: set[int] = set()
        self.seen: set[int] = set()
        self._next = 0

    async def run(self, until: Callable[[], bool]) -> None:
        """Then everything that was confirmed is awaited."""
        consuming = asyncio.create_task(self._consume())
        await asyncio.gather(*(self._publish(until) for _ in range(8)))
        async with asyncio.timeout(RECOVERY_SECONDS):
            while not self.confirmed <= self.seen:
                await asyncio.sleep(0.05)
        consuming.cancel()
        with suppress(asyncio.CancelledError):
            await consuming

    async def _publish(self, until: Callable[[], bool]) -> None:
        while not until():
            self._next = number = self._next + 1

            async def send(number: int = number) -> None:
                await self._bus.publish(order(str(number).encode()))
                self.confirmed.add(number)

            await recovered(send)
            await asyncio.sleep(0.002)

    async def _consume(self) -> None:
        while True:
            try:
                async with self._bus.consume(POOL, prefetch=20) as consumer:
                    async for delivery in consumer:
                        self.seen.add(int(delivery.body))
                        await delivery.acknowledge()
            except BusUnavailable:
                await asyncio.sleep(0.05)


async def beside(load: Load, faults: Callable[[], None]) -> None:
    """The load, while `faults` happen in a thread; it ends after as much again has been confirmed."""
    happening = asyncio.create_task(asyncio.to_thread(faults))
    confirmed_after: list[int] = []

    def is_enough() -> bool:
        if happening.done() and not confirmed_after:
            confirmed_after.append(len(load.confirmed))
        return bool(confirmed_after) and len(load.confirmed) >= confirmed_after[0] + 200

    await load.run(is_enough)
    await happening


async def settled(load: Load) -> None:
    """A queue that was declared within the last second may not outlive a kill."""
    since = asyncio.get_running_loop().time()
    await load.run(lambda: asyncio.get_running_loop().time() > since + 2)


async def test_nothing_confirmed_is_lost_when_the_broker_is_killed(rabbitmq: RabbitServer, url: str) -> None:
    async with RabbitBus(url, name="test", pace=PATIENT) as bus:
        load = Load(bus)
        await settled(load)

        def kill_and_start() -> None:
            rabbitmq.kill()
            rabbitmq.start()

        await beside(load, kill_and_start)

    assert load.confirmed <= load.seen


async def test_nothing_confirmed_is_lost_when_the_broker_is_restarted(rabbitmq: RabbitServer, url: str) -> None:
    async with RabbitBus(url, name="test", pace=PATIENT) as bus:
        load = Load(bus)

        def restart() -> None:
            rabbitmq.stop_app()
            rabbitmq.start_app()

        await beside(load, restart)

    assert load.confirmed <= load.seen


async def test_connections_that_the_operator_closes_come_back(rabbitmq: RabbitServer, vhost: VirtualHost, url: str) -> None:
    async with RabbitBus(url, name="test") as bus:
        await bus.publish(order())
        async with bus.consume(POOL, prefetch=1) as consumer, bus.listen(Exchange.CONTROL) as listener:
            delivery = await first(aiter(consumer))

            await asyncio.to_thread(rabbitmq.close_all_connections, vhost=vhost.name)

            with pytest.raises(BusUnavailable, match="CONNECTION_FORCED - closed by a test"):
                await first(aiter(consumer))
            with pytest.raises(BusUnavailable):
                async with asyncio.timeout(10):
                    await anext(aiter(listener))
            await delivery.acknowledge()
            await consumer.stop()

        async def consumed_again() -> None:
            async with bus.consume(POOL, prefetch=1) as consumer:
                again = await first(aiter(consumer))
                assert again.redelivered
                await again.acknowledge()

        await recovered(consumed_again)


async def test_without_a_connection_calls_fail_at_once(proxy: Proxy) -> None:
    async with RabbitBus(proxy.url, name="test") as bus:
        proxy.stall()
        proxy.cut()

        async with asyncio.timeout(5):
            with pytest.raises(BusUnavailable):
                await without_end(lambda: bus.publish(Envelope(exchange=Exchange.VITALS, body=b"alive")))
            with pytest.raises(BusUnavailable):
                async with bus.consume(POOL, prefetch=1):
                    pass

        proxy.flow()
        await recovered(lambda: bus.publish(order()))


async def test_a_publish_that_waits_fails_when_the_connection_is_lost(proxy: Proxy) -> None:
    async with RabbitBus(proxy.url, name="test") as bus:
        proxy.stall()
        waiting = [asyncio.ensure_future(bus.publish(order())) for _ in range(10)]
        done, _ = await asyncio.wait(waiting, timeout=0.1)
        assert not done

        proxy.cut()

        async with asyncio.timeout(5):
            results = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(result) for result in results} == {BusUnavailable}


async def test_a_publish_without_an_answer_fails_in_its_time_and_may_have_happened(proxy: Proxy, url: str) -> None:
    async with RabbitBus(proxy.url, name="test", pace=BusPace(publish_seconds=0.3)) as bus:
        proxy.stall()
        with pytest.raises(BusUnavailable, match="no answer in time"):
            await bus.publish(order(b"late"))
        proxy.flow()

        async with bus.consume(POOL, prefetch=1) as consumer:
            assert (await first(aiter(consumer))).body == b"late"
        await bus.publish(order())


async def test_connections_through_which_nothing_passes_are_made_anew(proxy: Proxy) -> None:
    async with RabbitBus(proxy.url, name="test", pace=SHORT) as bus:
        await bus.publish(order())
        before = proxy.connections
        async with bus.consume(POOL, prefetch=1) as consumer:
            await first(aiter(consumer))
            proxy.stall()

            with pytest.raises(BusUnavailable):
                await first(aiter(consumer))
            proxy.flow()

        await recovered(lambda: bus.publish(order(b"again")))
        await recovered(lambda: consumed(bus, b"again"))
        assert proxy.connections >= before + 2


async def test_a_cancellation_by_the_library_is_a_lost_connection() -> None:
    with pytest.raises(BusUnavailable, match="sending: the connection was lost"), translated("sending"):
        raise asyncio.CancelledError


async def test_a_cancellation_of_our_own_stays_one() -> None:
    async def send() -> None:
        with translated("sending"):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(send())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_the_library_swallows_is_raised_again() -> None:
    async def send() -> None:
        with translated("sending"), suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(send())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_by_the_library_is_known_also_while_cleaning_up() -> None:
    async def send() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                with translated("cleaning up"):
                    raise asyncio.CancelledError
            except BusUnavailable as error:
                return str(error)
        return ""

    task = asyncio.ensure_future(send())
    await asyncio.sleep(0)
    task.cancel()

    assert await task == "cleaning up: the connection was lost"


async def test_an_acknowledgement_after_the_connection_was_lost_does_nothing(proxy: Proxy) -> None:
    async with RabbitBus(proxy.url, name="test") as bus:
        await bus.publish(order(b"kept"))
        async with bus.consume(POOL, prefetch=1) as consumer:
            delivery = await first(aiter(consumer))
            proxy.cut()
            with pytest.raises(BusUnavailable):
                await first(aiter(consumer))
            await delivery.acknowledge()
            await delivery.give_back()

        async def consumed_again() -> None:
            async with bus.consume(POOL, prefetch=1) as consumer:
                assert (await first(aiter(consumer))).redelivered

        await recovered(consumed_again)


async def test_an_exchange_that_goes_away_is_named_and_waited_for(url: str) -> None:
    async with RabbitBus(url, name="test") as bus:
        async with raw_channel(url) as channel:
            await channel.exchange_delete(Exchange.EVENTS.value)
        event = Envelope(exchange=Exchange.EVENTS, key="run.succeeded.retrain", body=b"event")

        with pytest.raises(BusUnavailable, match=r"no exchange 'penstock\.events'.*penstock topology apply"):
            await bus.publish(event)

        await declared(url, topology())
        await recovered(lambda: bus.publish(event))


async def test_a_broker_without_memory_delivers_and_takes_again_later(rabbitmq: RabbitServer, url: str) -> None:
    async with RabbitBus(url, name="test", pace=BusPace(publish_seconds=1.0)) as bus:
        await bus.publish(order(b"before"))
        await asyncio.to_thread(rabbitmq.set_memory_alarm)

        for _ in range(2):
            with pytest.raises(BusUnavailable, match="no answer in time; the broker may be out of memory"):
                await bus.publish(order(b"unknown"))
        async with bus.consume(POOL, prefetch=1) as consumer:
            delivery = await first(aiter(consumer))
            assert delivery.body == b"before"
            await delivery.acknowledge()

            await asyncio.to_thread(rabbitmq.clear_memory_alarm)
            await recovered(lambda: bus.publish(order(b"after")))
            found = [await first(aiter(consumer))]
            while found[-1].body != b"after":
                await found[-1].acknowledge()
                found.append(await first(aiter(consumer)))

    # While it was known to be blocked, nothing more was sent to come late.
    assert [delivery.body for delivery in found] == [b"unknown", b"after"]


def set_consumer_timeout(rabbitmq: RabbitServer, *, milliseconds: int, checked_each: int) -> None:
    """For channels opened from now on."""
    setting = "application:set_env(rabbit, consumer_timeout, {}), application:set_env(rabbit, channel_tick_interval, {})."
    rabbitmq.rabbitmqctl("eval", setting.format(milliseconds, checked_each))


async def test_a_delivery_held_for_longer_than_the_broker_allows_ends_the_iteration_and_comes_again(
    rabbitmq: RabbitServer, url: str
) -> None:
    async with RabbitBus(url, name="test") as bus:
        await bus.publish(order(b"slow"))
        await asyncio.to_thread(set_consumer_timeout, rabbitmq, milliseconds=300, checked_each=300)
        try:
            async with bus.consume(POOL, prefetch=2) as consumer:
                delivery = await first(aiter(consumer))

                with pytest.raises(BusUnavailable, match="delivery acknowledgement on channel"):
                    await first(aiter(consumer))
                await delivery.acknowledge()
        finally:
            await asyncio.to_thread(set_consumer_timeout, rabbitmq, milliseconds=1_800_000, checked_each=60_000)

        async with bus.consume(POOL, prefetch=1) as consumer:
            again = await first(aiter(consumer))
            assert (again.body, again.redelivered) == (b"slow", True)


def wrong_password(url: URL) -> URL:
    return url.with_password("wr0ng secret")


def wrong_user(url: URL) -> URL:
    return url.with_user("nobody")


def wrong_virtual_host(url: URL) -> URL:
    return url.with_path("/nowhere")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (wrong_password, "refused the user or the password; check the user information of PENSTOCK_BROKER_URL"),
        (wrong_user, r"user 'nobody'\): the broker refused the user or the password"),
        (wrong_virtual_host, r"\(virtual host 'nowhere'.*does not exist.*or the user may not enter it.*rabbitmqctl add_vhost"),
    ],
)
async def test_a_refused_connection_says_why_and_what_to_do(
    url: str, change: Callable[[URL], URL], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = change(URL(url))

    with pytest.raises(BusUnavailable, match=reason) as refused:
        async with RabbitBus(str(wrong), name="test"):
            pass

    assert re.match(r"can't connect to RabbitMQ at 127\.0\.0\.1:\d+ ", str(refused.value))
    shown = f"{refused.getrepr(showlocals=False)} {caplog.text}"
    assert (wrong.password or "") not in shown
    assert (wrong.raw_password or "") not in shown


async def test_a_broker_that_is_not_there_says_so(unused_tcp_port: int) -> None:
    with pytest.raises(BusUnavailable, match="check that the broker runs and the host and port of PENSTOCK_BROKER_URL"):
        async with RabbitBus(f"amqp://user:secret@127.0.0.1:{unused_tcp_port}/", name="test"):
            pass
