"""The event service: nothing that was delivered is lost, and of each cause there is one run, whatever comes twice or fails between."""

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection
from typing_extensions import override

from penstock.contracts.errors import StoreUnavailable
from penstock.contracts.event_mappings import EventMapping
from penstock.contracts.event_views import RefusalView
from penstock.engine.events.mappings import put_mapping
from penstock.engine.events.refusals import refusals
from penstock.engine.events.service import EventService, EventSettings
from penstock.engine.store import Store
from penstock.transport.bus import Envelope, Exchange
from penstock.transport.buses.memory import MemoryBus
from tests.engine.events.bench import Bench, emit, event, serving, trigger, until

T = TypeVar("T")
ROWS = {"rows": "event.data.rows"}


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


async def runs_of(bench: Bench) -> list[int]:
    return sorted(run["rows"] for run in await bench.runs())


async def test_an_event_on_the_bus_becomes_a_run_that_is_begun(bench: Bench, bus: MemoryBus) -> None:
    await bench.declare(trigger(parameters=ROWS))
    begun: list[int] = []

    async with serving(bench, bus, begun):
        await emit(bus, event("a", data={"rows": 7}))
        await until(lambda: is_true(len(begun) == 1))

    assert await runs_of(bench) == [7]


async def test_what_was_kept_before_a_crash_and_delivered_again_makes_one_run(bench: Bench, bus: MemoryBus) -> None:
    await bench.declare(trigger(parameters=ROWS))
    begun: list[int] = []
    await bench.send(event("a", data={"rows": 7}))

    async with serving(bench, bus, begun):
        await emit(bus, event("a", data={"rows": 7}), event("b", data={"rows": 8}))
        await until(lambda: is_true(len(begun) == 1))

    assert await runs_of(bench) == [7, 8]


async def test_what_somebody_else_kept_is_decided_when_it_is_rung_for(bench: Bench, bus: MemoryBus) -> None:
    await bench.declare(trigger(parameters=ROWS))
    begun: list[int] = []

    async with serving(bench, bus, begun, tick_seconds=1000.0):
        await until(lambda: is_true(True))
        await bench.keep(event("a", data={"rows": 7}))
        await bus.publish(Envelope(exchange=Exchange.INGEST, key="ring", body=b""))
        await until(lambda: is_true(len(begun) == 1))

    assert await runs_of(bench) == [7]


async def test_what_nobody_can_read_is_kept_with_the_reason(bench: Bench, bus: MemoryBus) -> None:
    begun: list[int] = []

    async def kept() -> list[RefusalView]:
        return await bench.store.read(lambda connection: refusals(connection, "default", 2**62, 10))

    async with serving(bench, bus, begun):
        await bus.publish(Envelope(exchange=Exchange.INGEST, key="event", body=b"\x00nonsense"))
        await until(kept)

    (found,) = await kept()
    assert (found.key, found.size, found.reason.startswith("the message is no JSON")) == ("event", 9, True)


async def test_a_plain_message_is_read_as_the_mapping_says_that_is_declared_by_then(bench: Bench, bus: MemoryBus) -> None:
    await bench.declare(trigger(parameters=ROWS))
    begun: list[int] = []
    mapping = EventMapping(name="plain", source='"/s"', type='"day.ready"', data="message", routing_key="shop.#")

    async with serving(bench, bus, begun):
        await bench.store.transaction(lambda connection: put_mapping(connection, "default", mapping, "me", 1))
        await bus.publish(Envelope(exchange=Exchange.INGEST, key="shop", body=b'{"rows": 7}'))
        await until(lambda: is_true(len(begun) == 1))

    assert await runs_of(bench) == [7]


class Failing(Store):
    """A store whose transactions fail now and then, before they begin or after their commit."""

    def __init__(self, store: Store, chance: random.Random, often: float) -> None:
        self._store = store
        self._chance = chance
        self._often = often

    @property
    @override
    def is_concurrent(self) -> bool:
        return self._store.is_concurrent

    @override
    async def transaction(self, function: Callable[[Connection], T]) -> T:
        if self._chance.random() < self._often:
            raise StoreUnavailable("it is away")
        result = await self._store.transaction(function)
        if self._chance.random() < self._often:
            raise StoreUnavailable("it is away, after the commit")
        return result

    @override
    async def read(self, function: Callable[[Connection], T]) -> T:
        return await self._store.read(function)

    @override
    async def close(self) -> None: ...


async def test_a_thousand_events_with_duplicates_and_restarts_make_one_run_each(bench: Bench, bus: MemoryBus) -> None:
    await bench.declare(trigger(parameters=ROWS))
    chance = random.Random(4)
    events = [event(number, data={"rows": number}) for number in range(1000)]
    sent = [*events, *chance.choices(events, k=500)]
    chance.shuffle(sent)
    failing = Bench(Failing(bench.store, chance, 0.1), bench.now)
    begun: list[int] = []

    await emit(bus, *sent[:200])
    for start in range(200, len(sent), 325):
        async with serving(failing, bus, begun), serving(failing, bus, begun):
            await emit(bus, *sent[start : start + 325])
            await asyncio.sleep(0)

    async with serving(bench, bus, begun), serving(bench, bus, begun):
        await until(lambda: has_runs(bench, 1000))

    assert await runs_of(bench) == list(range(1000))
    assert len(begun) == len(set(begun))


async def test_two_services_at_once_join_deduplicate_and_limit_as_one_would(bench: Bench, bus: MemoryBus) -> None:
    parts = [{"kind": "event", "type": "a"}, {"kind": "event", "type": "b"}]
    await bench.declare(trigger("join", on={"kind": "all", "of": parts, "key": "event.data.rows"}, parameters=ROWS))
    await bench.declare(trigger("dedupe", on={"kind": "event", "type": "b"}, parameters={"rows": "-1"}, dedupe="event.data.rows % 10"))
    await bench.declare(trigger("limit", on={"kind": "event", "type": "a"}, parameters={"rows": "-2"}, concurrency={"limit": 3}))
    chance = random.Random(5)
    events = [event(f"{kind}{number}", kind, data={"rows": number}) for kind in "ab" for number in range(60)]
    sent = [*events, *events]
    chance.shuffle(sent)
    begun: list[int] = []

    async def is_done() -> bool:
        states = await bench.states()
        return len(states) == 120 and set(states.values()) == {"done"}

    async with serving(bench, bus, begun), serving(bench, bus, begun):
        for one in sent:
            await emit(bus, one)
            await asyncio.sleep(0)
        await until(is_done)

    runs = await runs_of(bench)
    assert [rows for rows in runs if rows >= 0] == list(range(60))
    assert runs.count(-1) == 10
    assert runs.count(-2) == 3
    assert sorted(await bench.outcomes("limit")) == ["started"] * 3 + ["waiting"] * 57


async def test_what_is_under_way_ends_when_it_is_asked_to(bench: Bench, bus: MemoryBus) -> None:
    begun: list[int] = []
    service = EventService(bus, bench.store, EventSettings(), lambda: bench.now, begun.append)
    serving_it = asyncio.create_task(service.run())
    await emit(bus, event("a"))
    await until(lambda: is_kept(bench))

    service.drain()

    async with asyncio.timeout(30):
        await serving_it


async def is_kept(bench: Bench) -> bool:
    return len(await bench.states()) == 1


async def has_runs(bench: Bench, count: int) -> bool:
    return len(await bench.run_rows()) >= count and set((await bench.states()).values()) == {"done"}


async def is_true(value: bool) -> bool:
    return value
