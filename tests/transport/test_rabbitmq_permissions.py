"""Users of the broker that may do what they are for: it is enough for that, and reaches nothing of others. On a real broker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from aiormq.abc import AbstractChannel
from aiormq.exceptions import AMQPError

from penstock.contracts.errors import BusUnavailable, InvalidInput
from penstock.transport.bus import Delivery, Envelope, Exchange, work_key, work_queue
from penstock.transport.buses.rabbitmq import RabbitBus
from penstock.transport.buses.rabbitmq.address import parse_address
from penstock.transport.buses.rabbitmq.bus import BusPace
from penstock.transport.buses.rabbitmq.management import Management
from penstock.transport.buses.rabbitmq.permissions import UserKind, permissions
from penstock.transport.buses.rabbitmq.topology import topology
from penstock.transport.buses.rabbitmq.topology_apply import apply
from tests.servers.rabbitmq import RabbitServer, VirtualHost
from tests.transport.rabbit import declared, raw_channel

NAMES = ("a", "b")
SERVED = "flow/train"
Urls = Callable[[UserKind, str | None], Awaitable[str]]
QUICK = BusPace(probe_seconds=0.1, lost_seconds=5.0)


@pytest.fixture
async def url_of(rabbitmq: RabbitServer, vhost: VirtualHost) -> Urls:
    """Where a user with the permissions of a kind, and a workspace, finds the broker, on which both workspaces have a pool."""
    await declared(vhost.url, topology([(name, "cpu") for name in NAMES]))

    async def made(kind: UserKind, workspace: str | None = None) -> str:
        user = rabbitmq.add_user(vhost=vhost.name)
        async with Management(rabbitmq.management_url(), vhost.name) as management:
            await management.set_permissions(permissions(user.name, kind, workspace))
        return rabbitmq.url(vhost.name, user)

    return made


async def first(deliveries: AsyncIterator[Delivery]) -> Delivery:
    async with asyncio.timeout(10):
        return await anext(deliveries)


async def heard(listener: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(10):
        return await anext(listener)


async def test_coordinator_runner_and_api_of_least_rights_work_together(url_of: Urls) -> None:
    async with AsyncExitStack() as stack:
        coordinator, runner, api = [
            await stack.enter_async_context(RabbitBus(await url_of(kind, workspace), name=kind.value, pace=QUICK))
            for kind, workspace in ((UserKind.COORDINATOR, None), (UserKind.RUNNER, "a"), (UserKind.API, None))
        ]
        pool, lane = work_queue("a", "cpu"), work_queue("a", SERVED)
        orders = await stack.enter_async_context(runner.consume(pool, prefetch=1))
        served = await stack.enter_async_context(runner.consume(lane, prefetch=1))
        inbox = await stack.enter_async_context(coordinator.consume("penstock.inbox", prefetch=10))
        control = await stack.enter_async_context(runner.listen(Exchange.CONTROL))
        vitals = [await stack.enter_async_context(bus.listen(Exchange.VITALS)) for bus in (coordinator, api)]
        logs = await stack.enter_async_context(api.listen(Exchange.LOGS, "run1"))

        await coordinator.publish(Envelope(exchange=Exchange.WORK, key=work_key("a", "cpu", "flow", "train"), body=b"order"))
        await coordinator.publish(Envelope(exchange=Exchange.WORK, key=work_key("a", SERVED, "flow", "train"), body=b"served"))
        await (await first(aiter(orders))).acknowledge()
        await (await first(aiter(served))).acknowledge()
        await runner.publish(Envelope(exchange=Exchange.REPORTS, key="report", body=b"done"))
        await api.publish(Envelope(exchange=Exchange.REPORTS, key="submit", body=b"bell"))
        assert {(await first(aiter(inbox))).body, (await first(aiter(inbox))).body} == {b"done", b"bell"}
        await coordinator.publish(Envelope(reply_queue=control.name, body=b"answer"))
        assert await heard(aiter(control)) == b"answer"
        await api.publish(Envelope(exchange=Exchange.CONTROL, body=b"show logs"))
        assert await heard(aiter(control)) == b"show logs"
        await runner.publish(Envelope(exchange=Exchange.VITALS, body=b"beat"))
        assert [await heard(aiter(listener)) for listener in vitals] == [b"beat", b"beat"]
        await runner.publish(Envelope(exchange=Exchange.LOGS, key="run1", body=b"text"))
        assert await heard(aiter(logs)) == b"text"
        await coordinator.publish(Envelope(exchange=Exchange.EVENTS, key="a.run", body=b"event"))


async def test_connections_of_a_runner_are_known_to_be_well(url_of: Urls, vhost: VirtualHost) -> None:
    """The ping that says so takes no more rights than a runner has."""
    async with (
        RabbitBus(vhost.url, name="witness") as witness,
        witness.listen(Exchange.LOGS) as pings,
        RabbitBus(await url_of(UserKind.RUNNER, "a"), name="runner", pace=QUICK) as runner,
    ):
        for _ in range(5):
            assert await heard(aiter(pings)) == b""
        await runner.publish(Envelope(exchange=Exchange.VITALS, body=b"beat"))


Attempt = Callable[[AbstractChannel], Awaitable[object]]
OTHERS = work_queue("b", "cpu")


def _refused_to_a_runner() -> dict[str, Attempt]:
    async def own(channel: AbstractChannel, user: str) -> str:
        name = f"r.{user}.spy"
        await channel.queue_declare(name, exclusive=True)
        return name

    def bound(exchange: str, key: str) -> Attempt:
        async def attempt(channel: AbstractChannel) -> None:
            await channel.queue_bind(await own(channel, channel.connection.url.user or ""), exchange, key)

        return attempt

    return {
        "read the queue of another workspace": lambda channel: channel.basic_get(OTHERS, timeout=5),
        "consume it": lambda channel: channel.basic_consume(OTHERS, lambda _: asyncio.sleep(0), timeout=5),
        "purge it": lambda channel: channel.queue_purge(OTHERS, timeout=5),
        "delete it": lambda channel: channel.queue_delete(OTHERS, timeout=5),
        "read the inbox": lambda channel: channel.basic_get("penstock.inbox", timeout=5),
        "read the events": lambda channel: channel.basic_get("penstock.ingest", timeout=5),
        "read the dead letters": lambda channel: channel.basic_get("penstock.dead", timeout=5),
        "order": lambda channel: channel.basic_publish(b"x", exchange="penstock.work", routing_key="b.cpu.flow.train", timeout=5),
        "order in its own workspace": lambda channel: channel.basic_publish(
            b"x", exchange="penstock.work", routing_key="a.cpu.f.t", timeout=5
        ),
        "order past the exchange": lambda channel: channel.basic_publish(b"x", exchange="", routing_key=OTHERS, timeout=5),
        "command": lambda channel: channel.basic_publish(b"x", exchange="penstock.control", timeout=5),
        "submit": lambda channel: channel.basic_publish(b"x", exchange="penstock.reports", routing_key="submit", timeout=5),
        "invent events": lambda channel: channel.basic_publish(b"x", exchange="penstock.ingest", routing_key="b.x", timeout=5),
        "tell of events": lambda channel: channel.basic_publish(b"x", exchange="penstock.events", routing_key="b.x", timeout=5),
        "hear the orders of others": bound("penstock.work", "b.#"),
        "hear all orders": bound("penstock.work", "#"),
        "hear the orders of its workspace": bound("penstock.work", "a.cpu.*.*"),
        "hear logs": bound("penstock.logs", "#"),
        "hear reports": bound("penstock.reports", "#"),
        "hear heartbeats": bound("penstock.vitals", ""),
        "hear events": bound("penstock.events", "#"),
        "make a pool": lambda channel: channel.queue_declare("penstock.pool.a.gpu", durable=True, timeout=5),
        "make a lane of others": lambda channel: channel.queue_declare("penstock.lane.b.flow.train", durable=True, timeout=5),
        "make an exchange": lambda channel: channel.exchange_declare("penstock.x", timeout=5),
        "make a queue of another user": lambda channel: channel.queue_declare("r.other.x", timeout=5),
    }


async def refused(url: str, attempts: dict[str, Attempt]) -> list[str]:
    """The names of those that the broker refuses, each on a channel of its own."""
    found: list[str] = []
    for name, attempt in attempts.items():
        try:
            async with raw_channel(url) as channel:
                await attempt(channel)
                # What is published without an answer is answered by a channel that is closed: this is asked after it.
                await channel.exchange_declare("penstock.vitals", passive=True, timeout=5)
        except (AMQPError, RuntimeError):
            found.append(name)
    return found


async def test_a_runner_reaches_nothing_of_another_workspace(url_of: Urls) -> None:
    attempts = _refused_to_a_runner()

    assert await refused(await url_of(UserKind.RUNNER, "a"), attempts) == list(attempts)


async def test_a_workspace_whose_name_begins_like_another_is_another(url_of: Urls, vhost: VirtualHost) -> None:
    await declared(vhost.url, topology([("a-b", "cpu"), ("ab", "cpu")]))
    attempts: dict[str, Attempt] = {
        name: lambda channel, name=name: channel.basic_get(work_queue(name, "cpu"), timeout=5)  # type: ignore[misc]  # of each
        for name in ("a-b", "ab")
    }

    assert await refused(await url_of(UserKind.RUNNER, "a"), attempts) == ["a-b", "ab"]


async def test_an_upstream_tells_its_own_workspace_of_events_and_nothing_else(url_of: Urls, vhost: VirtualHost) -> None:
    url = await url_of(UserKind.UPSTREAM, "a")
    attempts: dict[str, Attempt] = {
        "another workspace": lambda channel: channel.basic_publish(b"x", exchange="penstock.ingest", routing_key="b.file", timeout=5),
        "no workspace": lambda channel: channel.basic_publish(b"x", exchange="penstock.ingest", routing_key="", timeout=5),
        "order": lambda channel: channel.basic_publish(b"x", exchange="penstock.work", routing_key="a.cpu.f.t", timeout=5),
        "past the exchange": lambda channel: channel.basic_publish(b"x", exchange="", routing_key="penstock.ingest", timeout=5),
        "report": lambda channel: channel.basic_publish(b"x", exchange="penstock.reports", routing_key="report", timeout=5),
        "read": lambda channel: channel.basic_get("penstock.ingest", timeout=5),
        "make a queue": lambda channel: channel.queue_declare("x", timeout=5),
        "hear": lambda channel: channel.queue_bind("penstock.ingest", "penstock.events", "#", timeout=5),
    }

    async with raw_channel(url) as channel:
        await channel.basic_publish(b"event", exchange="penstock.ingest", routing_key="a.file", timeout=5)
    assert await refused(url, attempts) == list(attempts)
    async with raw_channel(vhost.url) as channel, asyncio.timeout(10):
        while (found := await channel.basic_get("penstock.ingest", no_ack=True)).delivery_tag is None:
            pass
        assert found.body == b"event"
        assert (await channel.basic_get("penstock.ingest", no_ack=True)).delivery_tag is None


async def test_a_coordinator_makes_queues_and_an_api_says_who_does(url_of: Urls) -> None:
    wanted = topology([("b", "gpu")])
    coordinator, api = [parse_address(await url_of(kind, None)) for kind in (UserKind.COORDINATOR, UserKind.API)]

    with pytest.raises(BusUnavailable, match="rabbitmqctl set_permissions"):
        await apply(api, wanted, management=None, on_wait=lambda _: None)
    assert list((await apply(coordinator, wanted, management=None, on_wait=lambda _: None)).created) == ["penstock.pool.b.gpu"]


@pytest.mark.parametrize("user", ["", "a b", ".*", "a|b", "a'", "x" * 65, "a$", "é"])
def test_a_name_that_would_mean_something_in_an_expression_is_refused(user: str) -> None:
    with pytest.raises(InvalidInput, match="letters"):
        permissions(user, UserKind.RUNNER, "a")


def test_a_user_of_a_workspace_needs_one() -> None:
    for kind in (UserKind.RUNNER, UserKind.UPSTREAM):
        with pytest.raises(InvalidInput, match="--workspace"):
            permissions("x", kind, None)
        with pytest.raises(InvalidInput, match="workspace"):
            permissions("x", kind, ".*")
