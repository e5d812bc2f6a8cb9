"""Runs that start runs: an `OnRun` trigger follows a pipeline, what a step emits starts another, and what goes in a circle ends."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from penstock.contracts.messages import Order
from penstock.contracts.publishing import PublishRequest
from penstock.contracts.spec import PipelineSpec, encode_spec
from penstock.contracts.triggers import TriggerSpec
from penstock.engine.core.wants import Begin
from penstock.engine.events.service import EventService, EventSettings
from penstock.engine.events.triggers import declare
from penstock.engine.published.publishing import publish
from penstock.engine.statement import Statement
from penstock.transport.buses.memory import MemoryBus
from tests.engine import cluster as clusters
from tests.engine.cluster import SETTINGS, Cluster, pipeline, step

PATIENCE_SECONDS = 30.0
_runs = Statement("SELECT pipeline, state, cause FROM run ORDER BY run_no")
_decisions = Statement(
    "SELECT t.name, d.outcome FROM decision d JOIN trigger_version t ON t.trigger_no = d.trigger_no ORDER BY d.event_no, t.name"
)

pytestmark = pytest.mark.usefixtures("each_store")


@dataclass
class Circle:
    """A coordinator and an event service on one store. Only what is told wakes the service: it never looks by itself."""

    cluster: Cluster

    async def publish(self, name: str, **fields: Any) -> PipelineSpec:
        spec = pipeline(step(f"{name}-step", cache=False), name=name, **fields)
        request = PublishRequest(spec=json.loads(encode_spec(spec)))
        await self.cluster.store.transaction(lambda connection: publish(connection, "default", request, "tester", now()))
        return spec

    async def declare(self, name: str, runs: str, on: dict[str, Any], **fields: Any) -> None:
        spec = TriggerSpec.model_validate({"name": name, "pipeline": runs, "on": on, **fields})
        await self.cluster.store.transaction(lambda connection: declare(connection, "default", spec, "tester", now()))

    async def runs(self) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in await self.cluster.store.read(lambda connection: _runs.rows(connection))]

    async def causes(self) -> list[dict[str, Any]]:
        return [json.loads(row[2]) for row in await self.cluster.store.read(lambda connection: _runs.rows(connection))]

    async def decisions(self) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in await self.cluster.store.read(lambda connection: _decisions.rows(connection))]

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await holds():
                await asyncio.sleep(0.005)

    async def decided(self, *expected: tuple[str, str]) -> None:
        """Waits until all these decisions are made, and every run has ended; there are no others."""

        async def holds() -> bool:
            decisions, runs = await self.decisions(), await self.runs()
            return len(decisions) >= len(expected) and all(state == "succeeded" for _, state in runs)

        await self.until(holds)
        assert await self.decisions() == [*expected]


def now() -> int:
    return time.time_ns() // 1000


@asynccontextmanager
async def circle(answer: Callable[[Order], object] = lambda _: 1) -> AsyncGenerator[Circle]:
    bus = MemoryBus()
    settings = replace(SETTINGS, told=lambda: service.wake())
    made = Cluster(clusters.make_store(), bus, settings=settings)
    made.answer = answer
    coordinator = made.coordinator
    service = EventService(bus, made.store, EventSettings(tick_seconds=1000.0), now, lambda run_no: coordinator.tell(run_no, Begin()))
    serving = asyncio.create_task(service.run())
    async with clusters.serving(made):
        try:
            yield Circle(made)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def test_a_pipeline_follows_another() -> None:
    async with circle() as found:
        first = await found.publish("first")
        await found.publish("second")
        await found.declare("follow", "second", {"kind": "run", "pipeline": "first"})

        await found.cluster.submit(first)
        await found.decided(("follow", "started"))

        assert await found.runs() == [("first", "succeeded"), ("second", "succeeded")]
        cause = (await found.causes())[1]
        assert (cause["trigger"], cause["hops"], cause["correlation_id"]) == ("follow", 1, "run1")


async def test_two_that_follow_each_other_end() -> None:
    async with circle() as found:
        first = await found.publish("first")
        await found.publish("second")
        await found.declare("there", "second", {"kind": "run", "pipeline": "first"})
        await found.declare("back", "first", {"kind": "run", "pipeline": "second"})

        await found.cluster.submit(first)
        await found.decided(("there", "started"), ("back", "started"), ("there", "looped"))

        assert [name for name, _ in await found.runs()] == ["first", "second", "first"]


async def test_a_trigger_may_bear_fewer_hops() -> None:
    async with circle() as found:
        first = await found.publish("first")
        await found.publish("second")
        await found.declare("there", "second", {"kind": "run", "pipeline": "first"})
        await found.declare("back", "first", {"kind": "run", "pipeline": "second"}, hop_limit=1)

        await found.cluster.submit(first)
        await found.decided(("there", "started"), ("back", "looped"))

        assert [name for name, _ in await found.runs()] == ["first", "second"]


async def test_what_a_step_emits_starts_a_run_and_a_pipeline_that_starts_itself_ends() -> None:
    def answer(order: Order) -> object:
        return made[0].cluster.completed(order, 1, emitted=({"type": "model.trained", "data": {"rows": 3}},))

    made: list[Circle] = []
    async with circle(answer) as found:
        made.append(found)
        spec = await found.publish("again")
        await found.declare("again", "again", {"kind": "event", "type": "model.trained", "where": "event.data.rows == 3"})

        await found.cluster.submit(spec)
        await found.decided(("again", "started"), ("again", "looped"))

        assert [name for name, _ in await found.runs()] == ["again", "again"]
