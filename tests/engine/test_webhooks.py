"""The relay: what is owed arrives, signed, at least once, as fast as its receiver wants, and nowhere else than it may."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address

import pytest
from typing_extensions import override

from penstock.contracts.errors import BusUnavailable, InvalidInput
from penstock.contracts.subscriptions import DeliveryView, SubscriptionRequest
from penstock.deploy.services.webhook_sender import webhook_sender
from penstock.engine.outgoing.composing import Outgoing, owed_row, put_owed
from penstock.engine.outgoing.owed_events import LEASE_MICROSECONDS, forget_old
from penstock.engine.outgoing.relay import OutgoingRelay, RelayPorts
from penstock.engine.outgoing.subscriptions import (
    deliveries,
    generation_of,
    retry,
    rotate_secret,
    set_subscription_state,
    subscribe,
    subscription,
)
from penstock.engine.outgoing.webhook_addresses import Allowed, check_address, check_url
from penstock.engine.outgoing.webhooks import LONGEST_PAUSE_SECONDS, Answer, WebhookSender, pause_seconds, secret_of, shown
from penstock.engine.store import Store
from penstock.engine.stores.postgres import PostgresStore
from penstock.engine.stores.sqlite import MemoryStore
from penstock.transport.bus import Envelope, Exchange
from penstock.transport.buses.memory import MemoryBus
from tests.engine.webhook_receiver import WebhookReceiver, verified

KEY = b"the-signing-key-of-the-services"
LOOPBACK = Allowed.of(["127.0.0.1", "localhost"])
SECOND = 1_000_000
DAY = 24 * 3600 * SECOND
PATIENCE_SECONDS = 30.0


class Clock:
    """Goes on by itself, and is put forward."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.ahead


@dataclass
class Office:
    """A store with one webhook, and a relay that is told to look by hand."""

    store: Store
    sender: WebhookSender
    clock: Clock = field(default_factory=Clock)
    bus: MemoryBus = field(default_factory=MemoryBus)
    notes: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def relay(self, sender: WebhookSender | None = None) -> OutgoingRelay:
        ports = RelayPorts(
            store=self.store,
            bus=self.bus,
            sender=sender or self.sender,
            key=KEY,
            now=self.clock,
            noted=lambda to, result: self.notes.append((to, result)),
        )
        return OutgoingRelay(ports)

    async def subscribe(self, url: str | None, **fields: object) -> None:
        plain = {"name": "hook", "kind": "bus" if url is None else "webhook", "url": url, **fields}
        request = SubscriptionRequest.model_validate({name: value for name, value in plain.items() if value is not None})
        await self.store.transaction(lambda connection: subscribe(connection, "default", request, "tester", self.clock()))

    async def owe(self, *numbers: int, to: str = "hook") -> None:
        """Events to one receiver."""
        for number in numbers or (1,):
            event = Outgoing(event_id=f"run-{number}", type="t", source="/s", topic="run.started.x", body=json.dumps({"n": number}))
            row = owed_row("default", to, event, self.clock())
            await self.store.transaction(partial(put_owed, row=row))

    async def look(self, sender: WebhookSender | None = None) -> None:
        """One look of a relay, and all that it begins."""
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
            await self.relay(sender).round(tasks)

    async def deliveries(self, state: str = "") -> list[DeliveryView]:
        return await self.store.read(lambda connection: deliveries(connection, "default", "hook", state, None, 100))

    async def only(self) -> DeliveryView:
        (one,) = await self.deliveries()
        return one

    async def secret(self) -> str:
        generation = await self.store.read(lambda connection: generation_of(connection, "default", "hook"))
        return shown(secret_of(KEY, "default", "hook", generation))


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as one:
        yield one


@pytest.fixture(params=["memory", "postgres"])
def make_store(request: pytest.FixtureRequest) -> Callable[[], Store]:
    if request.param == "memory":
        return MemoryStore
    url = request.getfixturevalue("database")
    return lambda: PostgresStore(url)


@pytest.fixture
async def office(make_store: Callable[[], Store]) -> AsyncGenerator[Office]:
    async with opened(make_store()) as found:
        yield found


@pytest.fixture
async def small_office() -> AsyncGenerator[Office]:
    """Where it does not matter which store it is."""
    async with opened(MemoryStore()) as found:
        yield found


@asynccontextmanager
async def opened(store: Store) -> AsyncGenerator[Office]:
    async with webhook_sender(LOOPBACK) as sender:
        try:
            yield Office(store, sender)
        finally:
            await store.close()


async def test_a_delivery_is_signed_as_standard_webhooks_has_it(office: Office, receiver: WebhookReceiver) -> None:
    await office.subscribe(receiver.url())
    await office.owe()

    await office.look()

    (came,) = receiver.received
    assert json.loads(came.body) == {"n": 1}
    assert came.headers["content-type"].startswith("application/cloudevents+json")
    assert verified(await office.secret(), came.headers, came.body)
    assert not verified(await office.secret(), came.headers, came.body + b" ")
    one = await office.only()
    assert (one.state, one.status, one.tries, one.message_id) == ("delivered", 204, 1, came.message_id)


async def test_what_fails_comes_again_later_under_the_same_id(office: Office, receiver: WebhookReceiver) -> None:
    await office.subscribe(receiver.url())
    await office.owe()
    receiver.statuses[:] = [500, 503]

    await office.look()
    await office.look()
    assert len(receiver.received) == 1, "not before its time"
    first = await office.only()
    office.clock.ahead += 6 * SECOND
    await office.look()
    office.clock.ahead += 11 * SECOND
    await office.look()

    assert (first.state, first.status, first.error) == ("owed", 500, "the receiver answered 500")
    assert len({came.message_id for came in receiver.received}) == 1
    assert [(one.state, one.tries) for one in await office.deliveries()] == [("delivered", 3)]


async def test_after_a_day_it_is_given_up_and_can_be_retried(office: Office, receiver: WebhookReceiver) -> None:
    await office.subscribe(receiver.url())
    await office.owe()
    receiver.statuses[:] = [500, 500]
    await office.look()

    office.clock.ahead += DAY
    await office.look()
    dead = await office.only()
    await office.store.transaction(lambda connection: retry(connection, "default", "hook", None, office.clock()))
    await office.look()

    assert (dead.state, dead.error) == ("dead", "the receiver answered 500")
    assert office.notes == [("webhook", "failed"), ("webhook", "dead"), ("webhook", "done")]
    assert (await office.only()).state == "delivered"


async def test_a_receiver_that_takes_its_time_is_left(small_office: Office, receiver: WebhookReceiver) -> None:
    await small_office.subscribe(receiver.url("/slow"))
    await small_office.owe()

    async with webhook_sender(LOOPBACK, 0.2) as impatient:
        await small_office.look(impatient)

    assert (await small_office.only()).error == "no answer within 0.2 s"


async def test_a_redirect_is_not_followed(small_office: Office, receiver: WebhookReceiver) -> None:
    await small_office.subscribe(receiver.url("/redirect"))
    await small_office.owe()

    await small_office.look()

    assert [came.path for came in receiver.received] == ["/redirect"]
    one = await small_office.only()
    assert one.state == "owed"
    assert "subscribe to where it leads" in (one.error or "")


async def test_an_answer_without_end_is_not_read(small_office: Office, receiver: WebhookReceiver) -> None:
    await small_office.subscribe(receiver.url("/huge"))
    await small_office.owe()

    await small_office.look()

    assert (await small_office.only()).state == "delivered"
    assert receiver.sent < 64 * 1024 * 1024


async def test_a_receiver_can_end_its_subscription(office: Office, receiver: WebhookReceiver) -> None:
    await office.subscribe(receiver.url("/answer/410"))
    await office.owe(1, 2)

    await office.look()
    await office.look()

    view = await office.store.read(lambda connection: subscription(connection, "default", "hook"))
    assert (view.state, view.owed, view.dead) == ("off", 0, 2)
    assert "410" in (view.error or "")


async def test_a_paused_one_gets_nothing_until_it_is_resumed(small_office: Office, receiver: WebhookReceiver) -> None:
    store = small_office.store
    await small_office.subscribe(receiver.url())
    await store.transaction(lambda connection: set_subscription_state(connection, "default", "hook", is_on=False))
    await small_office.owe()

    await small_office.look()
    assert receiver.received == []
    await store.transaction(lambda connection: set_subscription_state(connection, "default", "hook", is_on=True))
    await small_office.look()

    assert len(receiver.received) == 1


class Dying(WebhookSender):
    """Delivers, and is dead before anybody learns of it."""

    def __init__(self, sender: WebhookSender) -> None:
        self._sender = sender

    @override
    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        await self._sender.post(url, headers, body)
        raise asyncio.CancelledError


async def test_a_relay_that_dies_after_delivering_has_another_deliver_again_under_the_same_id(
    office: Office, receiver: WebhookReceiver
) -> None:
    await office.subscribe(receiver.url())
    await office.owe()

    await office.look(Dying(office.sender))
    await office.look()
    assert len(receiver.received) == 1, "it is in hand for a while"
    office.clock.ahead += LEASE_MICROSECONDS + SECOND
    await office.look()

    assert len(receiver.received) == 2
    assert len({came.message_id for came in receiver.received}) == 1
    assert (await office.only()).state == "delivered"


async def test_a_receiver_gets_no_more_a_second_than_it_wants(small_office: Office, receiver: WebhookReceiver) -> None:
    await small_office.subscribe(receiver.url(), rate_per_second=4)
    await small_office.owe(*range(10))
    relay = asyncio.create_task(small_office.relay().run())

    await asyncio.to_thread(receiver.wait, 10)
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)

    times = [came.at for came in receiver.received]
    assert all(later - earlier > 0.8 for earlier, later in zip(times, times[4:], strict=False))
    assert len({came.message_id for came in receiver.received}) == 10


async def test_several_relays_deliver_each_once(office: Office, receiver: WebhookReceiver) -> None:
    await office.subscribe(receiver.url())
    await office.owe(*range(40))

    relays = [asyncio.create_task(office.relay().run()) for _ in range(3)]
    await asyncio.to_thread(receiver.wait, 40)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await office.deliveries("owed"):
            await asyncio.sleep(0)
    for relay in relays:
        relay.cancel()
    await asyncio.gather(*relays, return_exceptions=True)

    assert len(receiver.received) == len({came.message_id for came in receiver.received}) == 40


async def test_for_a_day_both_secrets_sign(small_office: Office, receiver: WebhookReceiver) -> None:
    store = small_office.store
    await small_office.subscribe(receiver.url())
    old = await small_office.secret()
    await store.transaction(lambda connection: rotate_secret(connection, "default", "hook", small_office.clock()))
    new = await small_office.secret()
    await small_office.owe(1)
    await small_office.look()
    small_office.clock.ahead += DAY + SECOND
    await small_office.owe(2)
    await small_office.look()

    first, second = receiver.received
    assert old != new
    assert verified(old, first.headers, first.body)
    assert verified(new, first.headers, first.body)
    assert len(first.headers["webhook-signature"].split(" ")) == 2
    assert len(second.headers["webhook-signature"].split(" ")) == 1


async def test_a_slow_receiver_keeps_no_other_waiting(small_office: Office, receiver: WebhookReceiver) -> None:
    await small_office.subscribe(receiver.url("/slow"))
    await small_office.subscribe(receiver.url("/ok"), name="other")
    await small_office.owe(1)
    relay = asyncio.create_task(small_office.relay().run())
    await asyncio.to_thread(receiver.wait, 1)

    await small_office.owe(2, to="other")
    came = await asyncio.to_thread(receiver.wait, 2)
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)

    assert [one.path for one in came] == ["/slow", "/ok"]


async def test_what_arrived_is_forgotten_after_a_day_and_what_is_dead_after_a_month(
    small_office: Office, receiver: WebhookReceiver
) -> None:
    store = small_office.store
    await small_office.subscribe(receiver.url())
    receiver.statuses[:] = [204, 410]
    await small_office.owe(1)
    await small_office.look()
    await small_office.owe(2)
    await small_office.look()

    await store.transaction(lambda connection: forget_old(connection, small_office.clock() + 2 * DAY))
    left = await small_office.deliveries()
    await store.transaction(lambda connection: forget_old(connection, small_office.clock() + 31 * DAY))

    assert [one.state for one in left] == ["dead"]
    assert await small_office.deliveries() == []


# The bus


async def test_what_is_owed_to_the_bus_is_published_once(office: Office) -> None:
    async with office.bus.listen(Exchange.EVENTS, "run.started.#") as listener:
        await office.owe(1, 2, to="")
        await office.look()
        await office.look()
        heard = aiter(listener)
        async with asyncio.timeout(PATIENCE_SECONDS):
            bodies = [json.loads(await anext(heard)) for _ in range(2)]

    assert bodies == [{"n": 1}, {"n": 2}]


class AwayBus(MemoryBus):
    is_away = True

    @override
    async def publish(self, envelope: Envelope) -> None:
        if self.is_away:
            raise BusUnavailable("it is away")
        await super().publish(envelope)


async def test_what_the_bus_could_not_take_is_published_when_it_is_back(small_office: Office) -> None:
    bus = AwayBus()
    small_office.bus = bus
    await small_office.owe(1, to="")
    await small_office.look()
    bus.is_away = False
    async with bus.listen(Exchange.EVENTS) as listener:
        small_office.clock.ahead += 2 * SECOND
        await small_office.look()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert json.loads(await anext(aiter(listener))) == {"n": 1}


# Where webhooks may go


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "224.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "240.0.0.1"),
    ],
)
def test_webhooks_go_to_no_address_inside(address: str) -> None:
    with pytest.raises(InvalidInput, match="PENSTOCK_WEBHOOK_ALLOW"):
        check_address("inside.example", ip_address(address), Allowed())


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_webhooks_go_to_the_internet(address: str) -> None:
    check_address("outside.example", ip_address(address), Allowed())


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/hook", "ftp://example.org", "https://", "https:///path", "file:///etc/passwd", "https://127.0.0.1/x"),
        *(
            "https://[::1]/x",
            "https://user:pass@example.org/",
            "https://example.org/#part",
            "https://exa mple.org",
            "https://example.org:99999/",
        ),
        *("https://169.254.169.254/latest/meta-data", "https://[::ffff:10.0.0.1]/", "https://[1:2"),
    ],
)
def test_urls_that_lead_elsewhere_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_url(url, Allowed())


def test_allowed_are_hosts_and_networks() -> None:
    allowed = Allowed.of(["hooks.internal", " 10.20.0.0/16", ""])

    check_url("http://hooks.internal/x", allowed)
    check_url("http://10.20.3.4:8080/x", allowed)
    check_address("anything.example", ip_address("10.20.0.9"), allowed)
    with pytest.raises(InvalidInput):
        check_url("http://10.21.0.1/", allowed)
    with pytest.raises(InvalidInput, match="no host, address or network"):
        Allowed.of(["10.0.0.0/99"])


async def test_a_name_that_leads_inside_is_not_connected_to(receiver: WebhookReceiver) -> None:
    async with webhook_sender(Allowed()) as sender:
        answer = await sender.post(f"https://localhost:{receiver.port}/ok", {}, b"{}")

    assert answer.status is None
    assert "no address of the internet" in answer.error
    assert receiver.received == []


async def test_the_receiver_is_asked_by_its_name_at_the_address_that_was_checked(receiver: WebhookReceiver) -> None:
    async with webhook_sender(Allowed.of(["localhost"])) as sender:
        answer = await sender.post(f"http://localhost:{receiver.port}/ok?token=1", {}, b"{}")

    assert answer.status == 204
    assert receiver.received[0].headers["host"] == f"localhost:{receiver.port}"
    assert receiver.received[0].path == "/ok?token=1"


async def test_nothing_that_a_receiver_does_raises(receiver: WebhookReceiver) -> None:
    async with webhook_sender(LOOPBACK) as sender:
        refused = await sender.post("http://127.0.0.1:1/ok", {}, b"{}")
        no_tls = await sender.post(f"https://127.0.0.1:{receiver.port}/ok", {}, b"{}")

    assert refused.status is None
    assert "ConnectError" in refused.error
    assert no_tls.status is None


# Pauses


def test_pauses_grow_to_an_hour_and_differ_between_messages() -> None:
    pauses = [pause_seconds("msg_1", tries) for tries in range(1, 30)]

    assert 2.5 <= pauses[0] <= 5
    assert all(LONGEST_PAUSE_SECONDS / 2 <= pause <= LONGEST_PAUSE_SECONDS for pause in pauses[12:])
    assert len({pause_seconds(f"msg_{n}", 5) for n in range(50)}) == 50
    assert pause_seconds("msg_1", 1, asked=120.0) == 120.0
    assert pause_seconds("msg_1", 1, asked=1e9) == LONGEST_PAUSE_SECONDS


def test_secrets_differ_by_workspace_name_and_generation() -> None:
    made = [secret_of(KEY, "a", "b", 1), secret_of(KEY, "a", "b", 2), secret_of(KEY, "a", "c", 1), secret_of(KEY, "x", "b", 1)]

    assert len(set(made)) == 4
    assert shown(made[0]).startswith("whsec_")
