"""The bus on a healthy RabbitMQ: what the broker is told, and what it refuses."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiormq.abc import DeliveredMessage

from penstock.contracts.errors import BusUnavailable, ContractError
from penstock.contracts.messages import COMMAND_LIMIT, MESSAGE_LIMIT
from penstock.transport.bus import INBOX, INGEST, Delivery, Envelope, Exchange, work_key, work_queue
from penstock.transport.buses.rabbitmq import RabbitBus
from penstock.transport.buses.rabbitmq.permissions import UserKind, permissions
from penstock.transport.buses.rabbitmq.topology import UNROUTABLE, queue_topology, topology
from tests.servers.rabbitmq import RabbitServer, VirtualHost
from tests.transport.rabbit import declared, raw_channel

POOL = work_queue("default", "cpu")


def order(body: bytes = b"order", *, pool: str = "cpu") -> Envelope:
    return Envelope(exchange=Exchange.WORK, key=work_key("default", pool, "pipeline", "train"), body=body)


async def first(deliveries: AsyncIterator[Delivery]) -> Delivery:
    async with asyncio.timeout(10):
        return await anext(deliveries)


@pytest.fixture
async def url(vhost: VirtualHost) -> str:
    await declared(vhost.url, topology([("default", "cpu")]))
    return vhost.url


@pytest.fixture
async def bus(url: str) -> AsyncIterator[RabbitBus]:
    async with RabbitBus(url, name="test") as bus:
        yield bus


async def received(url: str, queue: str, count: int) -> list[DeliveredMessage]:
    """Messages as others see them."""
    found: list[DeliveredMessage] = []
    async with asyncio.timeout(20), raw_channel(url) as channel:
        while len(found) < count:
            message = await channel.basic_get(queue, no_ack=True, timeout=10)
            if message.delivery_tag is not None:
                found.append(message)
    return found


async def test_an_order_is_persistent_and_has_an_id_of_its_own_and_its_sender(url: str, bus: RabbitBus, vhost: VirtualHost) -> None:
    for _ in range(3):
        await bus.publish(order())

    properties = [message.header.properties for message in await received(url, POOL, 3)]

    assert [found.delivery_mode for found in properties] == [2, 2, 2]
    assert len({found.message_id for found in properties}) == 3
    assert {found.user_id for found in properties} == {vhost.user.name}


async def test_vitals_are_transient(url: str, bus: RabbitBus) -> None:
    async with raw_channel(url) as channel:
        await channel.queue_declare("seen", exclusive=True)
        await channel.queue_bind("seen", Exchange.VITALS.value, "")
        arrived: asyncio.Future[DeliveredMessage] = asyncio.get_running_loop().create_future()

        async def take(message: DeliveredMessage) -> None:
            arrived.set_result(message)

        await channel.basic_consume("seen", take, no_ack=True)
        await bus.publish(Envelope(exchange=Exchange.VITALS, body=b"alive"))
        async with asyncio.timeout(10):
            assert (await arrived).header.properties.delivery_mode == 1


async def test_a_large_command_arrives_whole(bus: RabbitBus) -> None:
    body = bytes(range(256)) * 4096
    await bus.publish(Envelope(exchange=Exchange.REPORTS, key="command", body=body))

    async with bus.consume(INBOX, prefetch=1) as consumer:
        delivery = await first(aiter(consumer))

    assert delivery.body == body


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope(exchange=Exchange.REPORTS, key="report", body=bytes(COMMAND_LIMIT + 1)),
        Envelope(exchange=Exchange.VITALS, body=bytes(MESSAGE_LIMIT + 1)),
        Envelope(reply_queue="r.somebody", body=bytes(MESSAGE_LIMIT + 1)),
        Envelope(exchange=Exchange.EVENTS, key="x" * 256, body=b""),
    ],
    ids=["report", "vitals", "reply", "key"],
)
async def test_what_no_broker_would_take_is_refused_before_it_is_sent(bus: RabbitBus, envelope: Envelope) -> None:
    with pytest.raises(ContractError, match=r"over the limit|more than the 255 bytes"):
        await bus.publish(envelope)

    await bus.publish(order())


async def test_an_order_that_no_queue_takes_is_refused_and_only_that_one(bus: RabbitBus) -> None:
    results = await asyncio.gather(
        *(bus.publish(order(pool="cpu" if number % 2 else "nowhere")) for number in range(40)), return_exceptions=True
    )

    assert [isinstance(result, BusUnavailable) for result in results] == [number % 2 == 0 for number in range(40)]
    assert "no queue takes it; `penstock topology apply`" in str(results[0])


async def test_an_alternate_exchange_without_queues_does_not_hide_such_an_order(
    rabbitmq: RabbitServer, vhost: VirtualHost, bus: RabbitBus
) -> None:
    rabbitmq.api(
        "PUT",
        f"policies/{vhost.name}/alternate",
        {"pattern": r"^penstock\.work$", "definition": {"alternate-exchange": UNROUTABLE}, "apply-to": "exchanges"},
    )

    with pytest.raises(BusUnavailable, match="no queue takes it"):
        await bus.publish(order(pool="nowhere"))


async def test_a_full_queue_refuses_and_has_room_again_later(rabbitmq: RabbitServer, vhost: VirtualHost, bus: RabbitBus) -> None:
    rabbitmq.api(
        "PUT",
        f"policies/{vhost.name}/short",
        {"pattern": r"^penstock\.pool\.", "definition": {"max-length": 3, "overflow": "reject-publish"}, "apply-to": "queues"},
    )

    async def filled() -> int:
        taken = 0
        while True:
            await bus.publish(order())
            taken += 1

    with pytest.raises(BusUnavailable, match="its queue is full"):
        async with asyncio.timeout(10):
            await filled()

    async with bus.consume(POOL, prefetch=10) as consumer:
        for _ in range(3):
            await (await first(aiter(consumer))).acknowledge()
    async with asyncio.timeout(10):
        while True:
            try:
                await bus.publish(order())
                break
            except BusUnavailable:
                continue


async def test_cancelled_publishes_leave_the_others_alone(url: str, bus: RabbitBus) -> None:
    tasks = [asyncio.ensure_future(bus.publish(order(str(number).encode()))) for number in range(60)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()

    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(result) for result in results[::3]] == [asyncio.CancelledError] * 20
    kept = [number for number in range(60) if number % 3]
    assert [results[number] for number in kept] == [None] * 40
    found = {int(message.body) for message in await received(url, POOL, 40)}
    assert found.issuperset(kept) or len(found) == 40


async def test_many_acknowledgements_leave_alone_what_is_still_held(bus: RabbitBus) -> None:
    for number in range(20):
        await bus.publish(order(str(number).encode()))

    async with bus.consume(POOL, prefetch=20) as consumer:
        deliveries = [await first(aiter(consumer)) for _ in range(20)]
        for delivery in reversed(deliveries):
            if int(delivery.body) not in {5, 12}:
                await delivery.acknowledge()
        await deliveries[5].give_back()

    async with bus.consume(POOL, prefetch=20) as consumer:
        again = {(await first(aiter(consumer))).body for _ in range(2)}
        await bus.publish(order(b"last"))
        last = await first(aiter(consumer))

    assert again == {b"5", b"12"}
    assert last.body == b"last"


async def test_a_missing_queue_is_declared_with_its_binding_by_who_consumes_it(bus: RabbitBus) -> None:
    async with bus.consume(work_queue("default", "gpu"), prefetch=1) as consumer:
        await bus.publish(order(b"early", pool="gpu"))

        assert (await first(aiter(consumer))).body == b"early"


async def test_a_lane_has_a_queue_that_expires(rabbitmq: RabbitServer, vhost: VirtualHost, bus: RabbitBus) -> None:
    lane = work_queue("default", "retrain/Train Model")
    async with bus.consume(lane, prefetch=1) as consumer:
        await bus.publish(
            Envelope(exchange=Exchange.WORK, key=work_key("default", "retrain/Train Model", "retrain", "Train Model"), body=b"served")
        )

        assert (await first(aiter(consumer))).body == b"served"
        found = rabbitmq.api("GET", f"queues/{vhost.name}/{lane}").json()
    assert (found["durable"], found["exclusive"]) == (True, False)
    assert found["arguments"] == {"x-queue-type": "classic", "x-expires": 60_000}


async def test_shared_queues_have_a_type_and_no_other_argument(rabbitmq: RabbitServer, vhost: VirtualHost, url: str) -> None:
    found = {queue["name"]: queue["arguments"] for queue in rabbitmq.api("GET", f"queues/{vhost.name}").json()}

    assert found == {name: {"x-queue-type": "quorum"} for name in (POOL, INBOX, INGEST, "penstock.dead")}


async def test_who_may_only_do_a_runners_work_can_do_it(rabbitmq: RabbitServer, vhost: VirtualHost, url: str) -> None:
    rights = permissions("runner", UserKind.RUNNER, "default")
    user = rabbitmq.add_user("runner", vhost=vhost.name, permissions=(rights.configure, rights.write, rights.read))

    async with RabbitBus(rabbitmq.url(vhost.name, user), name="runner") as runner, RabbitBus(url, name="coordinator") as coordinator:
        await coordinator.publish(order())
        async with runner.consume(POOL, prefetch=1) as consumer, runner.listen(Exchange.CONTROL) as listener:
            assert listener.name.startswith("r.runner.")
            await runner.publish(Envelope(exchange=Exchange.REPORTS, key="report", body=b"started"))
            await (await first(aiter(consumer))).acknowledge()
            await coordinator.publish(Envelope(reply_queue=listener.name, body=b"answer"))
            async with asyncio.timeout(10):
                assert await anext(aiter(listener)) == b"answer"

        with pytest.raises(BusUnavailable, match="penstock topology apply"):
            async with runner.consume(work_queue("default", "missing"), prefetch=1):
                pass
        with pytest.raises(BusUnavailable, match=r"access to exchange 'penstock\.work'"):
            await runner.publish(order())


async def test_a_deleted_queue_ends_the_iteration_and_can_be_consumed_again(url: str, bus: RabbitBus) -> None:
    async with bus.consume(POOL, prefetch=1) as consumer:
        async with raw_channel(url) as channel:
            await channel.queue_delete(POOL)
        with pytest.raises(BusUnavailable, match="the queue was deleted"):
            await first(aiter(consumer))

    async with bus.consume(POOL, prefetch=1) as consumer:
        await bus.publish(order(b"again"))
        assert (await first(aiter(consumer))).body == b"again"


async def test_an_error_of_the_channel_ends_the_iteration_only_there(url: str, bus: RabbitBus) -> None:
    async with raw_channel(url) as channel:
        await channel.queue_declare("taken", durable=True, arguments={"x-queue-type": "classic"})
        await channel.basic_consume("taken", lambda _: None, exclusive=True)  # type: ignore[arg-type,return-value]  # gets no message

        with pytest.raises(BusUnavailable, match="exclusive"):
            async with bus.consume("taken", prefetch=1):
                pass

    async with bus.consume(POOL, prefetch=1) as consumer:
        await bus.publish(order())
        await first(aiter(consumer))


async def test_declaring_twice_changes_nothing(url: str) -> None:
    await declared(url, topology([("default", "cpu")]))
    await declared(url, queue_topology(INBOX))


@pytest.mark.parametrize("exchange", [Exchange.WORK, Exchange.LOGS])
async def test_a_missing_exchange_is_said_at_the_start(url: str, exchange: Exchange) -> None:
    async with raw_channel(url) as channel:
        await channel.exchange_delete(exchange.value)

    with pytest.raises(BusUnavailable, match=rf"{exchange.value}.*penstock topology apply"):
        async with RabbitBus(url, name="test"):
            pass
