"""Everything at once on PostgreSQL: two coordinators with their event services, events that come twice and in any order, cancellations,
answers, new versions, edited triggers, replays. Nobody waits in a circle, and of each cause there is one run."""

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from penstock.contracts.approvals import DecisionRequest
from penstock.contracts.cloud_events import CloudEvent, ReceivedEvent, encode_cloud_event
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import InvalidInput
from penstock.contracts.publishing import PublishRequest
from penstock.contracts.spec import Identity, encode_spec
from penstock.contracts.triggers import TriggerSpec
from penstock.engine.coordinator import Coordinator
from penstock.engine.core.resolve import plain_value
from penstock.engine.core.rows import unpack_values
from penstock.engine.core.wants import Begin
from penstock.engine.events.again import replay
from penstock.engine.events.deciding import take_in
from penstock.engine.events.intake import store_events
from penstock.engine.events.retention import Retention
from penstock.engine.events.service import EventService, EventSettings
from penstock.engine.events.triggers import declare
from penstock.engine.people.approvals import approvals, decide
from penstock.engine.published.publishing import publish
from penstock.engine.runs import ask_to_cancel
from penstock.engine.statement import Statement
from penstock.engine.stores.postgres import PostgresStore
from penstock.engine.triggers.causes import cause_of_events, run_id_of
from penstock.transport.bus import Envelope, Exchange
from penstock.transport.buses.memory import MemoryBus
from tests.engine.cluster import SETTINGS, Cluster, parameter, pipeline, step
from tests.engine.small_pipelines import APPROVED, ask, register
from tests.engine.small_pipelines import step as small_step
from tests.servers.postgres import PostgresServer

T = TypeVar("T")
STORM_SECONDS = 3.0
PLACES = 2
PATIENCE_SECONDS = 60.0
NUMBER = {"rows": "event.data.number"}
_runs = Statement("SELECT run_id, params, cause FROM run ORDER BY run_no")
_events = Statement("SELECT event_no, id FROM event WHERE source = '/upstream' ORDER BY event_no DESC LIMIT 200")
_run_no = Statement("SELECT run_no FROM run WHERE run_id = :run_id")
_left = Statement(
    "SELECT (SELECT count(*) FROM event WHERE state <> 'done'), (SELECT count(*) FROM run WHERE ended_at IS NULL), "
    "(SELECT count(*) FROM trigger_start WHERE state IN ('fetch', 'queue', 'again')), "
    "(SELECT count(*) FROM held_event WHERE why <> 'join')"
)
_places = Statement(
    "SELECT count(*) FROM trigger_start s JOIN trigger_version t ON t.trigger_no = s.trigger_no AND t.name = 'queued' "
    "JOIN run u ON u.run_id = s.run_id AND u.ended_at IS NULL WHERE s.state = 'started' GROUP BY s.key"
)
_live = Statement("SELECT run_no FROM run WHERE ended_at IS NULL")


def now() -> int:
    return time.time_ns() // 1000


def happened(kind: str, number: int) -> CloudEvent:
    return CloudEvent(id=f"{kind}-{number}", source="/upstream", type=kind, data={"number": number, "key": number % 3})


def trigger(name: str, runs: str = "flow", on: Any = "a", **fields: Any) -> TriggerSpec:
    source = {"kind": "event", "type": on} if isinstance(on, str) else on
    return TriggerSpec.model_validate({"name": name, "pipeline": runs, "on": source, "parameters": NUMBER, **fields})


JOINED = {"kind": "all", "of": [{"kind": "event", "type": kind} for kind in "ab"], "key": "event.data.number", "policy": "each"}
TRIGGERS = (
    trigger("each"),
    trigger("joined", on=JOINED, parameters={"rows": "events[0].data.number"}),
    trigger("queued", on="b", concurrency={"policy": "queue", "limit": PLACES, "key": "event.data.key"}),
    trigger("replaced", "gated", on="b", concurrency={"policy": "replace", "limit": 1, "key": "event.data.key"}),
    trigger("batched", "other", on="a", batch={"size": 7, "seconds": 0.5}, parameters={"rows": "size(events)"}),
    trigger("calmed", "other", on="b", debounce={"seconds": 0.05, "key": "event.data.key"}),
    trigger("followed", "other", on={"kind": "run", "pipeline": "gated"}, parameters={"rows": "1"}),
)


@dataclass
class Storm:
    bus: MemoryBus
    stores: Sequence[PostgresStore]
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    sent: int = 0
    replays: Counter[str] = field(default_factory=Counter[str])
    """How often each event was replayed, by its id."""
    most: int = 0
    """Runs of one key that the limited trigger had at a time."""
    is_over: bool = False

    async def do(self, function: Callable[[Connection], T]) -> T:
        return await self.chance.choice(self.stores).transaction(function)

    async def read(self, function: Callable[[Connection], T]) -> T:
        return await self.stores[0].read(function)

    async def publish(self, name: str, code: int = 0) -> None:
        identity = Identity(digest=digest_bytes(f"{name}{code}".encode()))
        spec = pipeline(step(f"{name}-step", cache=False, code=identity), name=name, parameters=(parameter("rows", 0),))
        if name == "gated":
            nodes = (ask(), small_step("train", when=(APPROVED,), cache=False), register())
            spec = pipeline(*nodes, name=name, parameters=(parameter("rows", 0),))
        request = PublishRequest(spec=json.loads(encode_spec(spec)))
        await self.do(lambda connection: publish(connection, "default", request, "tester", now()))

    async def declare(self, spec: TriggerSpec) -> None:
        await self.do(lambda connection: declare(connection, "default", spec, "tester", now()))

    # What goes on at once

    async def send(self) -> None:
        """Events of both kinds, over the bus and by the API, each again and again, in other orders."""
        while not self.is_over:
            first = self.sent
            self.sent += 5
            some = [happened(kind, number) for kind in "ab" for number in range(first, self.sent)]
            await asyncio.gather(self.emit(some), self.keep(some), self.emit(some))
            await asyncio.sleep(0.15)

    async def emit(self, some: Sequence[CloudEvent]) -> None:
        for one in self.chance.sample(some, len(some)):
            body = encode_cloud_event(one)
            await self.bus.publish(Envelope(exchange=Exchange.INGEST, key="event", body=body, content_type="application/cloudevents+json"))

    async def keep(self, some: Sequence[CloudEvent]) -> None:
        mixed = self.chance.sample(some, len(some))
        received = [ReceivedEvent(workspace="default", via="http", event=one, received_at=now()) for one in mixed]
        await self.do(lambda connection: store_events(connection, received))

    async def cancel(self) -> None:
        while not self.is_over:
            runs = await self.read(_live.rows)
            for (run_no,) in self.chance.sample(runs, min(2, len(runs))):
                await self.stop(run_no)
            await asyncio.sleep(0.05)

    async def answer(self) -> None:
        while not self.is_over:
            for view in (await self.read(partial(approvals, workspace="default")))[:5]:
                for by in ("ada", "ben"):
                    request = DecisionRequest(approved=self.chance.random() < 0.7)
                    try:
                        await self.do(partial(decide, workspace="default", view=view, request=request, by=by, now=now()))
                    except InvalidInput:
                        continue  # somebody was faster, or the run has ended
            await asyncio.sleep(0.02)

    async def change(self) -> None:
        """New default versions, and triggers that are written otherwise though they mean the same."""
        code = 0
        while not self.is_over:
            code += 1
            await self.publish(self.chance.choice(["flow", "other"]), code)
            spec = self.chance.choice(TRIGGERS)
            await self.declare(spec.model_copy(update={"tags": {"code": str(code)}}))
            await asyncio.sleep(0.05)

    async def replay(self) -> None:
        while not self.is_over:
            events = await self.read(_events.rows)
            for event_no, name in self.chance.sample(events, min(2, len(events))):
                try:
                    # Once it was forgotten and came again, it is counted anew.
                    again = await self.do(partial(_replayed, event_no=event_no))
                except InvalidInput:
                    continue  # it is being decided, or was forgotten
                self.replays[name] = max(self.replays[name], again)
            await asyncio.sleep(0.05)

    async def forget(self) -> None:
        while not self.is_over:
            await Retention(self.stores[1], now, kept_days=1 / 86_400).sweep()
            await asyncio.sleep(0.1)

    async def count(self) -> None:
        while not self.is_over:
            self.most = max([self.most, *(row[0] for row in await self.read(_places.rows))])
            await asyncio.sleep(0.01)

    async def over(self) -> None:
        """Waits until nothing is under way."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any((await self.read(_left.rows))[0]):
                for view in await self.read(partial(approvals, workspace="default")):
                    await self.stop(await self.read(partial(_run_no.number, run_id=view.run_id)))
                await asyncio.sleep(0.1)

    async def stop(self, run_no: int) -> None:
        await self.do(partial(ask_to_cancel, run_no=run_no, now=now()))

    async def run_ids(self) -> dict[str, dict[str, int]]:
        """Of every trigger, its runs with the numbers that they are for."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for run_id, params, cause in await self.read(_runs.rows):
            found[json.loads(cause)["trigger"]][run_id] = plain_value(unpack_values(bytes(params))["rows"])
        return found


def runs_for(name: str, kind: str, number: int, replays: int) -> list[str]:
    """The one run that the event is to have, and one for each of its replays."""
    one = happened(kind, number)
    return [run_id_of("default", name, cause_of_events([(one.source, one.id, again)])) for again in range(replays + 1)]


def _replayed(connection: Connection, event_no: int) -> int:
    return replay(connection, "default", event_no)


@asynccontextmanager
async def raging(url: str) -> AsyncGenerator[Storm]:
    """Two coordinators and event services on a database, with pipelines and triggers."""
    bus = MemoryBus()
    found = Storm(bus, [PostgresStore(url), PostgresStore(url)])
    for name in ("flow", "gated", "other"):
        await found.publish(name)
    for spec in TRIGGERS:
        await found.declare(spec)
    tasks = [task for number, store in enumerate(found.stores) for task in _serving(bus, store, f"coordinator-{number}")]
    try:
        yield found
        assert not any(task.done() for task in tasks), "a coordinator or service has ended by itself"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for store in found.stores:
            await store.close()


def _serving(bus: MemoryBus, store: PostgresStore, name: str) -> list[asyncio.Task[None]]:
    settings = replace(SETTINGS, name=name, told=lambda: service.wake())
    made = Cluster(store, bus, settings=settings)
    made.answer = lambda _: 1
    coordinator = made.coordinator = Coordinator(bus, store, made.artifacts, settings, now)
    coordinator.set_slots("hand", {"cpu": 100})
    events = EventSettings(tick_seconds=0.1, pause_seconds=0.05)
    service = EventService(bus, store, events, now, lambda run_no: coordinator.tell(run_no, Begin()))
    return [asyncio.create_task(work) for work in (coordinator.run(), made.take_orders(), service.run())]


async def test_nobody_waits_in_a_circle_and_every_cause_has_its_run(postgres: PostgresServer, database: str) -> None:
    async with raging(database) as found, asyncio.timeout(PATIENCE_SECONDS):
        does = (found.send, found.cancel, found.answer, found.change, found.replay, found.forget, found.count)
        async with asyncio.TaskGroup() as tasks:
            for one in does:
                tasks.create_task(one())
            await asyncio.sleep(STORM_SECONDS)
            found.is_over = True
        await found.over()
        runs = await found.run_ids()

    for name, kind in (("each", "a"), ("queued", "b"), ("replaced", "b")):
        by_cause = [runs_for(name, kind, number, found.replays[f"{kind}-{number}"]) for number in range(found.sent)]
        assert {wanted[0] for wanted in by_cause} <= runs[name].keys(), name
        assert runs[name].keys() <= {run_id for wanted in by_cause for run_id in wanted}, name
    quiet = [number for number in range(found.sent) if not found.replays[f"a-{number}"] and not found.replays[f"b-{number}"]]
    joined = Counter(runs["joined"].values())
    assert quiet
    assert found.most == PLACES
    assert {number: joined[number] for number in quiet} == dict.fromkeys(quiet, 1)
    assert deadlocks(postgres, database) == 0


async def test_the_same_events_kept_in_other_orders_wait_for_each_other_in_one(postgres: PostgresServer, database: str) -> None:
    stores = [PostgresStore(database) for _ in range(2)]
    mixed = random.Random(1)
    numbers: list[list[int]] = []
    for turn in range(20):
        some = [happened("a", 50 * turn + number) for number in range(50)]
        received = [ReceivedEvent(workspace="default", via="http", event=one, received_at=now()) for one in some]
        orders = [mixed.sample(received, len(received)) for _ in range(4)]
        kept = await asyncio.gather(*(stores[n % 2].transaction(partial(store_events, received=one)) for n, one in enumerate(orders)))
        assert sum(one.is_new for stored in kept for one in stored) == len(some)
        numbers += [[one.event_no for one in stored if one.is_new] for stored in kept]
    for store in stores:
        await store.close()

    assert all(some == sorted(some) for some in numbers)
    assert deadlocks(postgres, database) == 0


async def test_pipelines_that_are_limited_for_some_and_not_for_others_are_numbered_in_one_order(
    postgres: PostgresServer, database: str
) -> None:
    bus = MemoryBus()
    found = Storm(bus, [PostgresStore(database) for _ in range(2)])
    limited = {"policy": "queue", "limit": 1000}
    for name in ("flow", "other"):
        await found.publish(name)
    for kind, plain, waiting in (("a", "flow", "other"), ("b", "other", "flow")):
        await found.declare(trigger(f"plain-{kind}", plain, kind))
        await found.declare(trigger(f"limited-{kind}", waiting, kind, concurrency=limited))

    for turn in range(15):
        received = [
            [ReceivedEvent(workspace="default", via="http", event=happened(kind, 10 * turn + n), received_at=now()) for n in range(10)]
            for kind in "ab"
        ]
        await asyncio.gather(
            *(store.transaction(partial(take_in, received=some, now=now())) for store, some in zip(found.stores, received, strict=True))
        )
    runs = await found.run_ids()
    for store in found.stores:
        await store.close()

    assert {name: len(some) for name, some in runs.items()} == dict.fromkeys(("plain-a", "plain-b", "limited-a", "limited-b"), 150)
    assert deadlocks(postgres, database) == 0


def deadlocks(server: PostgresServer, url: str) -> int:
    """How often transactions of that database waited for each other in a circle."""
    name = url.rpartition("/")[2]
    return int(server.query(f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name}'"))  # noqa: S608 - a name of a test's own
