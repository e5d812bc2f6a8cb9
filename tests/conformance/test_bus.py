"""What every bus promises, on each adapter."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from penstock.transport.bus import DEAD, INBOX, INGEST, Bus, Consumer, Delivery, Envelope, Exchange, work_queue
from penstock.transport.buses.memory import MemoryBus
from penstock.transport.buses.rabbitmq import RabbitBus
from penstock.transport.buses.rabbitmq.topology import topology
from tests.servers.rabbitmq import RabbitServer
from tests.simulation.bus import SimBroker, SimBus
from tests.transport.rabbit import declared, emptied

POOL = work_queue("default", "cpu")
SECONDS = 5.0
"""More than enough for a message inside of this process."""


QUEUES = topology([("default", "cpu"), ("default", "gpu"), ("other", "cpu")])


def queues_on(server: RabbitServer) -> Iterator[str]:
    server.recover()
    with server.virtual_host() as vhost:
        asyncio.run(declared(vhost.url, QUEUES))
        yield vhost.url


@pytest.fixture(scope="module")
def queues_on_3(rabbitmq_of_worker: RabbitServer) -> Iterator[str]:
    yield from queues_on(rabbitmq_of_worker)


@pytest.fixture(scope="module")
def queues_on_4(rabbitmq_4_of_worker: RabbitServer) -> Iterator[str]:
    yield from queues_on(rabbitmq_4_of_worker)


@pytest.fixture(params=["memory", "simulated", "rabbitmq-3", "rabbitmq-4"])
def place(request: pytest.FixtureRequest) -> str:
    """Which bus: its name, or a broker's URL."""
    match request.param:
        case "rabbitmq-3":
            return str(request.getfixturevalue("queues_on_3"))
        case "rabbitmq-4":
            return str(request.getfixturevalue("queues_on_4"))
        case name:
            return str(name)


@pytest.fixture
async def bus(place: str) -> AsyncIterator[Bus]:
    """The simulated bus without faults is held to the same promises."""
    match place:
        case "memory":
            yield MemoryBus()
        case "simulated":
            yield SimBus(SimBroker(random.Random(1)))
        case url:
            await emptied(url, QUEUES)
            async with RabbitBus(url, name="conformance") as rabbit:
                yield rabbit


def order(body: bytes, *, pool: str = "cpu", workspace: str = "default") -> Envelope:
    return Envelope(exchange=Exchange.WORK, key=f"{workspace}.{pool}.pipeline.3", body=body)


def report(body: bytes) -> Envelope:
    return Envelope(exchange=Exchange.REPORTS, key="report", body=body)


async def taken(consumer: Consumer, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(SECONDS):
        async for delivery in consumer:
            found.append(delivery)
            if len(found) == count:
                break
    return found


async def heard(bodies: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(SECONDS):
        return await anext(bodies)


async def is_idle(bus: Bus, waiting: "asyncio.Task[object]") -> bool:
    """Whether it still waits after everything else that could happen has happened: what was sent before has come by then."""
    for _ in range(50):
        await asyncio.sleep(0)
    async with bus.listen(Exchange.CONTROL) as own:
        await bus.publish(Envelope(reply_queue=own.name, body=b"ping"))
        await heard(aiter(own))
    return not waiting.done()


async def test_an_order_reaches_the_queue_of_its_pool(bus: Bus) -> None:
    await bus.publish(order(b"one"))

    async with bus.consume(POOL, prefetch=1) as consumer:
        (delivery,) = await taken(consumer, 1)

    assert delivery.body == b"one"
    assert not delivery.redelivered


async def test_an_order_waits_for_its_first_consumer(bus: Bus) -> None:
    await bus.publish(order(b"early", pool="gpu"))

    async with bus.consume(work_queue("default", "gpu"), prefetch=1) as consumer:
        assert [delivery.body for delivery in await taken(consumer, 1)] == [b"early"]


async def test_pools_and_workspaces_have_queues_of_their_own(bus: Bus) -> None:
    for name in ("cpu", "gpu"):
        await bus.publish(order(name.encode(), pool=name))
    await bus.publish(order(b"other", workspace="other"))

    async with bus.consume(work_queue("default", "gpu"), prefetch=5) as gpu, bus.consume(work_queue("other", "cpu"), prefetch=5) as other:
        assert [delivery.body for delivery in await taken(gpu, 1)] == [b"gpu"]
        assert [delivery.body for delivery in await taken(other, 1)] == [b"other"]


async def test_reports_and_commands_reach_the_inbox(bus: Bus) -> None:
    await bus.publish(report(b"done"))

    async with bus.consume(INBOX, prefetch=10) as consumer:
        assert [delivery.body for delivery in await taken(consumer, 1)] == [b"done"]


async def test_an_event_from_outside_has_a_queue_of_its_own_and_keeps_what_came_with_it(bus: Bus) -> None:
    headers: dict[str, str | bool | int] = {
        "cloudEvents:id": "a-1",
        "cloudEvents:source": "/søk",
        "n": -(2**63),
        "big": 2**63 - 1,
        "yes": True,
        "no": False,
        "": "",
    }
    await bus.publish(Envelope(exchange=Exchange.INGEST, key="sales.orders", body=b"{}", content_type="text/json", headers=headers))
    await bus.publish(Envelope(exchange=Exchange.INGEST, key="", body=b""))

    async with bus.consume(INGEST, prefetch=10) as consumer:
        event, ring = await taken(consumer, 2)

    assert (event.body, ring.body) == (b"{}", b"")
    assert event.properties.content_type == "text/json"
    assert dict(event.properties.headers) == headers
    assert (event.properties.exchange, event.properties.key) == ("penstock.ingest", "sales.orders")
    assert (ring.properties.content_type, dict(ring.properties.headers)) == ("", {})


async def test_what_came_with_an_event_comes_again_with_it(bus: Bus) -> None:
    await bus.publish(Envelope(exchange=Exchange.INGEST, key="a.b", body=b"x", headers={"k": "v"}))
    async with bus.consume(INGEST, prefetch=1) as consumer:
        await taken(consumer, 1)

    async with bus.consume(INGEST, prefetch=1) as consumer:
        (again,) = await taken(consumer, 1)

    assert (again.redelivered, again.properties.key, again.properties.headers["k"]) == (True, "a.b", "v")


async def test_every_message_is_delivered_to_one_of_several_consumers(bus: Bus) -> None:
    bodies = {str(number).encode() for number in range(20)}
    for body in sorted(bodies):
        await bus.publish(order(body))

    async with bus.consume(POOL, prefetch=10) as first, bus.consume(POOL, prefetch=10) as second:
        found = await asyncio.gather(taken(first, 10), taken(second, 10))

    assert {delivery.body for part in found for delivery in part} == bodies


async def test_no_more_than_the_prefetch_is_unacknowledged(bus: Bus) -> None:
    for number in range(3):
        await bus.publish(order(str(number).encode()))

    async with bus.consume(POOL, prefetch=2) as consumer:
        deliveries = await taken(consumer, 2)
        third = asyncio.ensure_future(taken(consumer, 1))
        assert await is_idle(bus, third)

        await deliveries[0].acknowledge()

        assert len(await third) == 1


async def test_what_was_acknowledged_does_not_come_again(bus: Bus) -> None:
    await bus.publish(order(b"one"))
    async with bus.consume(POOL, prefetch=1) as consumer:
        (delivery,) = await taken(consumer, 1)
        await delivery.acknowledge()
        await delivery.acknowledge()

    async with bus.consume(POOL, prefetch=1) as consumer:
        more = asyncio.ensure_future(taken(consumer, 1))
        assert await is_idle(bus, more)
        more.cancel()


async def test_what_a_consumer_leaves_behind_comes_again_and_says_so(bus: Bus) -> None:
    await bus.publish(order(b"one"))
    async with bus.consume(POOL, prefetch=1) as consumer:
        await taken(consumer, 1)

    async with bus.consume(POOL, prefetch=1) as consumer:
        (again,) = await taken(consumer, 1)

    assert again.body == b"one"
    assert again.redelivered


async def test_a_delivery_that_is_given_back_goes_to_another_consumer(bus: Bus) -> None:
    await bus.publish(order(b"one"))
    async with bus.consume(POOL, prefetch=1) as first:
        (delivery,) = await taken(first, 1)
        # One that still consumes might be the next to get it.
        await first.stop()
        await delivery.give_back()
        async with bus.consume(POOL, prefetch=1) as second:
            (again,) = await taken(second, 1)

            assert again.redelivered


async def test_a_refused_delivery_is_a_dead_letter_and_comes_to_nobody_else(bus: Bus) -> None:
    await bus.publish(order(b"one"))
    await bus.publish(order(b"two"))
    async with bus.consume(POOL, prefetch=1) as consumer:
        (delivery,) = await taken(consumer, 1)
        await delivery.refuse()

        assert [other.body for other in await taken(consumer, 1)] == [b"two"]
    # On a broker it is policies that say where they go; these have tests of their own.
    if not isinstance(bus, RabbitBus):
        async with bus.consume(DEAD, prefetch=1) as dead:
            assert [letter.body for letter in await taken(dead, 1)] == [b"one"]


async def test_an_acknowledgement_after_the_consumer_ended_does_nothing(bus: Bus) -> None:
    await bus.publish(order(b"one"))
    async with bus.consume(POOL, prefetch=1) as consumer:
        (delivery,) = await taken(consumer, 1)

    await delivery.acknowledge()

    async with bus.consume(POOL, prefetch=1) as consumer:
        assert len(await taken(consumer, 1)) == 1


async def test_a_stopped_consumer_takes_no_more_and_can_still_acknowledge(bus: Bus) -> None:
    await bus.publish(order(b"one"))
    async with bus.consume(POOL, prefetch=5) as consumer:
        (delivery,) = await taken(consumer, 1)
        await consumer.stop()
        await bus.publish(order(b"two"))
        await delivery.acknowledge()
        async with bus.consume(POOL, prefetch=5) as other:
            assert [delivery.body for delivery in await taken(other, 1)] == [b"two"]


async def test_stopping_ends_an_iteration_that_waits(bus: Bus) -> None:
    async with bus.consume(POOL, prefetch=1) as consumer:

        async def all_of_them() -> list[Delivery]:
            return [delivery async for delivery in consumer]

        waiting = asyncio.ensure_future(all_of_them())
        assert await is_idle(bus, waiting)

        await consumer.stop()

        async with asyncio.timeout(SECONDS):
            assert await waiting == []


async def test_a_fanout_reaches_everybody_who_listens(bus: Bus) -> None:
    async with bus.listen(Exchange.VITALS) as first, bus.listen(Exchange.VITALS) as second:
        await bus.publish(Envelope(exchange=Exchange.VITALS, key="tick", body=b"alive"))

        assert await heard(aiter(first)) == b"alive"
        assert await heard(aiter(second)) == b"alive"


async def test_nobody_hears_what_was_said_before(bus: Bus) -> None:
    await bus.publish(Envelope(exchange=Exchange.CONTROL, body=b"early"))

    async with bus.listen(Exchange.CONTROL) as listener:
        await bus.publish(Envelope(exchange=Exchange.CONTROL, body=b"late"))

        assert await heard(aiter(listener)) == b"late"


async def test_listeners_hear_their_own_exchange_only(bus: Bus) -> None:
    async with bus.listen(Exchange.CONTROL) as listener:
        await bus.publish(Envelope(exchange=Exchange.VITALS, body=b"elsewhere"))
        await bus.publish(Envelope(exchange=Exchange.CONTROL, body=b"here"))

        assert await heard(aiter(listener)) == b"here"


@pytest.mark.parametrize(
    ("pattern", "key", "is_meant"),
    [
        ("#", "run.succeeded.retrain", True),
        ("run.#", "run.succeeded.retrain", True),
        ("run.*.retrain", "run.failed.retrain", True),
        ("run.*.retrain", "run.failed.score", False),
        ("run.*", "run.failed.retrain", False),
        ("step.#", "run.succeeded.retrain", False),
    ],
)
async def test_a_pattern_chooses_among_events(bus: Bus, pattern: str, key: str, is_meant: bool) -> None:
    async with bus.listen(Exchange.EVENTS, pattern) as listener:
        await bus.publish(Envelope(exchange=Exchange.EVENTS, key=key, body=b"event"))
        await bus.publish(Envelope(reply_queue=listener.name, body=b"end"))

        assert await heard(aiter(listener)) == (b"event" if is_meant else b"end")


async def test_an_answer_reaches_only_the_one_who_is_addressed(bus: Bus) -> None:
    async with bus.listen(Exchange.CONTROL) as asking, bus.listen(Exchange.CONTROL) as other:
        assert asking.name != other.name
        await bus.publish(Envelope(reply_queue=asking.name, body=b"answer"))
        await bus.publish(Envelope(exchange=Exchange.CONTROL, body=b"all"))

        assert await heard(aiter(asking)) == b"answer"
        assert await heard(aiter(other)) == b"all"


async def test_an_answer_to_somebody_who_is_gone_is_dropped(bus: Bus) -> None:
    async with bus.listen(Exchange.CONTROL) as listener:
        name = listener.name

    await bus.publish(Envelope(reply_queue=name, body=b"answer"))
