"""What a runner that serves steps announces, and when it asks before it begins."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from penstock.contracts.artifacts import Value, inline
from penstock.contracts.messages import Claim, ClaimAnswer, Completed, Heartbeat, Order, Service
from penstock.runners.launchers.memory import MemoryLauncher
from penstock.runners.presence import Identity
from penstock.runners.runner import Pace, Runner
from tests.runners.queue_bus import QueueBus
from tests.runners.workbench import an_order

LANE = "flow/train"
SERVICE = Service(pipeline="flow", step="train", code="sha256:1")


def one(order: Order) -> Mapping[str, Value]:
    return {"result": inline(1)}


class Scene:
    def __init__(self, *, doubt: float = 1000.0) -> None:
        self.bus = QueueBus()
        self.launcher = MemoryLauncher({"main": one}, lambda order: 0.0)
        pace = Pace(young=0.05, heartbeat=0.05, reconnect=0.01, doubt=doubt)
        self.runner = Runner(
            self.bus, self.launcher, Identity(name="r-1", incarnation="i-1", pools={LANE: 2, "cpu": 1}, services=[SERVICE]), pace=pace
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["asyncio.Task[None]"]:
        task = asyncio.create_task(self.runner.run())
        try:
            async with asyncio.timeout(10):
                await self.bus.listening.wait()
                yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def heartbeat(self, wanted: Callable[[Heartbeat], bool]) -> Heartbeat:
        async with asyncio.timeout(10), self.bus.changed:
            await self.bus.changed.wait_for(lambda: any(map(wanted, self.bus.heartbeats)))
        return next(filter(wanted, self.bus.heartbeats))


def order_of_lane() -> Order:
    return an_order().model_copy(update={"pool": LANE, "pipeline": "flow", "step_name": "train"})


async def test_a_lane_is_announced_once_its_queue_is_there() -> None:
    scene = Scene()
    async with scene.running():
        found = await scene.heartbeat(lambda heartbeat: bool(heartbeat.services))

    assert found.services == (SERVICE,)
    assert found.pools == {LANE: 2, "cpu": 1}
    assert all(heartbeat.pools == {"cpu": 1} for heartbeat in scene.bus.heartbeats if not heartbeat.services)


async def test_who_drains_announces_nothing_any_more() -> None:
    scene = Scene()
    async with scene.running() as task:
        await scene.heartbeat(lambda heartbeat: bool(heartbeat.services))
        scene.runner.drain()
        await task

    last = scene.bus.heartbeats[-1]
    assert (last.is_draining, last.services, last.pools) == (True, (), {})


async def test_the_first_deliveries_of_a_lane_are_asked_for_and_those_of_pools_are_not() -> None:
    scene = Scene()
    served, other = order_of_lane(), an_order()
    async with scene.running():
        scene.bus.put(served)
        claim = await scene.bus.report(Claim, served.attempt)
        scene.bus.put(other)
        await scene.bus.report(Completed, other.attempt)

    assert claim.is_first
    assert [executed.attempt for executed in scene.launcher.executed] == [other.attempt]
    assert not any(isinstance(report, Claim) and report.attempt == other.attempt for report in scene.bus.reports)


async def test_what_is_over_is_not_begun() -> None:
    scene, order = Scene(), order_of_lane()
    async with scene.running():
        delivery = scene.bus.put(order)
        await scene.bus.report(Claim, order.attempt)
        scene.bus.tell(ClaimAnswer(asked=order.attempt, granted=False, reason="the attempt is closed"))
        async with asyncio.timeout(10):
            await delivery.done.wait()

    assert scene.launcher.executed == []


async def test_without_doubt_a_first_delivery_of_a_lane_is_begun_at_once() -> None:
    scene, order = Scene(doubt=0.0), order_of_lane()
    async with scene.running():
        await scene.heartbeat(lambda heartbeat: bool(heartbeat.services))
        scene.bus.put(order)
        await scene.bus.report(Completed, order.attempt)

    assert [type(report) for report in scene.bus.reports] == [Completed]
