"""The simulated event loop: what it relies on, and what it promises."""

import asyncio
import sys

import pytest

from tests.simulation.loop import Deadlock, Party, SimLoop


async def _order_of(count: int) -> list[int]:
    done: list[int] = []

    async def finish(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    await asyncio.gather(*(finish(number) for number in range(count)))
    return done


def test_the_loop_finds_the_attributes_that_it_relies_on() -> None:
    loop = asyncio.new_event_loop()
    handle, timer = loop.call_soon(print), loop.call_later(1, print)

    for name in ("_ready", "_scheduled", "_stopping"):
        assert hasattr(loop, name), f"Python {sys.version} keeps its callbacks elsewhere"
    for name in ("_context", "_cancelled", "_run"):
        assert hasattr(handle, name)
    for name in ("_when", "_scheduled"):
        assert hasattr(timer, name)

    loop.close()


def test_time_passes_only_where_somebody_waits() -> None:
    loop = SimLoop(1)

    loop.run_until_complete(asyncio.sleep(3600))

    assert loop.time() == 3600
    loop.finish()


def test_the_seed_decides_the_order_of_callbacks() -> None:
    orders: list[list[int]] = []
    for seed in (1, 1, 2):
        loop = SimLoop(seed)
        orders.append(loop.run_until_complete(_order_of(20)))
        loop.finish()

    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_waiting_for_nobody_is_an_error() -> None:
    loop = SimLoop(1)

    with pytest.raises(Deadlock):
        loop.run_until_complete(loop.create_future())

    loop.finish()


def test_the_dead_do_nothing_any_more() -> None:
    loop, done = SimLoop(1), list[str]()
    party = Party("one", dies_after=5)

    async def work() -> None:
        try:
            for number in range(10):
                await asyncio.sleep(1)
                done.append(str(number))
        finally:
            done.append("cleaned up")

    loop.spawn(party, work())
    loop.run_until_complete(asyncio.sleep(60))

    assert done == ["0"]
    loop.finish()


def test_the_frozen_go_on_where_they_stopped() -> None:
    loop, done = SimLoop(1), list[float]()
    party = Party("one")

    async def work() -> None:
        for _ in range(2):
            await asyncio.sleep(1)
            done.append(loop.time())

    async def others() -> None:
        await asyncio.sleep(0.5)
        party.is_frozen = True
        await asyncio.sleep(10)
        loop.thaw(party)
        await asyncio.sleep(10)

    loop.spawn(party, work())
    loop.run_until_complete(others())

    assert done == [10.5, 11.5]
    loop.finish()
