"""Orders that need several slots of a runner: all at once, in their turn, and never each waiting for what the other holds."""

import asyncio
import random
from collections import Counter

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.contracts.messages import CancelAttempts, Completed, Released, Started
from penstock.contracts.spec import ResourcesSpec
from penstock.contracts.states import AttemptState
from penstock.runners.runner import with_memory
from penstock.runners.slots import Seat, Slots
from tests.runners.test_runner import Scene, acknowledged
from tests.runners.workbench import a_step, an_order


def unwanted(count: int) -> None:
    """Nobody makes room."""


async def test_an_order_has_all_its_slots_at_once_and_gives_them_back() -> None:
    scene = Scene(slots=4)
    large = an_order(slots=4)
    orders = [an_order() for _ in range(3)]
    async with scene.running():
        for order in (large, *orders):
            scene.bus.put(order)
        for order in (large, *orders):
            await scene.bus.report(Completed, order.attempt)

    assert Counter(scene.began(order) for order in (large, *orders)) == {1: 4}


async def test_an_order_that_waits_for_slots_lets_nobody_else_begin() -> None:
    scene = Scene(slots=2)
    lasting, large, small = scene.lasting(0.4), an_order(slots=2), an_order()
    async with scene.running():
        await acknowledged(scene.bus.put(lasting))
        await acknowledged(scene.bus.put(large))
        scene.bus.put(small)
        assert scene.began(large) == scene.began(small) == 0
        await scene.bus.report(Completed, small.attempt)

    assert [order.attempt for order in scene.launcher.executed] == [lasting.attempt, large.attempt, small.attempt]


async def test_an_order_that_waits_long_is_held_like_one_that_is_executed() -> None:
    scene = Scene(slots=2)
    lasting, large = scene.lasting(), an_order(slots=2)
    async with scene.running():
        await acknowledged(scene.bus.put(lasting))
        delivery = scene.bus.put(large)
        await scene.bus.report(Started, large.attempt)
        await acknowledged(delivery)

        assert scene.began(large) == 0


async def test_an_order_that_is_cancelled_while_it_waits_for_slots_holds_none() -> None:
    scene = Scene(slots=2)
    lasting, large, small = scene.lasting(), an_order(slots=2), an_order()
    async with scene.running():
        await acknowledged(scene.bus.put(lasting))
        scene.bus.put(large)
        await scene.bus.report(Started, large.attempt)
        scene.bus.tell(CancelAttempts(attempts=(large.attempt,)))
        completed = await scene.bus.report(Completed, large.attempt)
        await acknowledged(scene.bus.put(small))

    assert completed.outcome is AttemptState.CANCELLED
    assert scene.began(small) == 1


async def test_an_order_that_needs_more_slots_than_there_are_is_given_back() -> None:
    scene = Scene(slots=2)
    order = an_order(slots=3)
    async with scene.running():
        await acknowledged(scene.bus.put(order))
        released = await scene.bus.report(Released, order.attempt)

    assert released.reason == "it needs 3 slots, and this runner has 2 for cpu"


async def test_a_runner_that_drains_ends_what_waits_for_slots() -> None:
    scene = Scene(slots=3)
    lasting, large = scene.lasting(0.2), an_order(slots=3)
    async with scene.running() as task:
        await acknowledged(scene.bus.put(lasting))
        scene.bus.put(large)
        await scene.bus.report(Started, large.attempt)
        scene.runner.drain()
        async with asyncio.timeout(10):
            await task

    assert scene.began(large) == 1


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=25), st.integers(0, 2**32))
def test_any_orders_end_within_the_slots_there_are(sizes: list[int], seed: int) -> None:
    slots, most = 5, asyncio.run(_most_at_once(sizes, seed))

    assert most <= slots


async def _most_at_once(sizes: list[int], seed: int) -> int:
    """The most slots that were in use at a time, until all these orders have ended."""
    rng = random.Random(seed)
    slots, used, most = Slots(5, unwanted), 0, 0
    pending = list(sizes)

    async def serve() -> None:
        nonlocal used, most
        seat = Seat(slots)
        while pending:
            await seat.hold(1)
            size = pending.pop() if pending else 0
            if size:
                await seat.hold(size)
                used += size
                most = max(most, used)
                for _ in range(rng.randint(0, 5)):
                    await asyncio.sleep(0)
                used -= size
            seat.leave()

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(serve())
    assert slots.free == slots.count
    return most


async def test_who_gives_up_waiting_leaves_its_turn_to_the_next() -> None:
    slots = Slots(3, unwanted)
    await slots.take(2)
    large, small = (asyncio.ensure_future(slots.take(count)) for count in (3, 1))
    await asyncio.sleep(0)
    assert not small.done()

    large.cancel()

    async with asyncio.timeout(10):
        await small
    assert slots.free == 0


def test_an_order_may_let_a_step_use_more_memory_than_it_asked_for() -> None:
    step = a_step(resources=ResourcesSpec(memory_bytes=100))

    assert with_memory(step, an_order(step)).resources.memory_bytes == 100
    assert with_memory(step, an_order(step, memory_bytes=400)).resources.memory_bytes == 400


async def test_a_runner_says_once_that_its_pool_is_defined_with_other_slots() -> None:
    scene = Scene(slots=2)
    with structlog.testing.capture_logs() as logs:
        async with scene.running():
            for order in (an_order(slots_per_runner=4), an_order(slots_per_runner=4), an_order(slots_per_runner=2)):
                await acknowledged(scene.bus.put(order))

    told = [entry for entry in logs if entry["event"] == "pool.defined_otherwise"]
    assert [(entry["slots"], entry["slots_per_runner"]) for entry in told] == [(2, 4)]
