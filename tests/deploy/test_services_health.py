"""Health over HTTP, and what waits for dependencies."""

import asyncio
import http.client
import time
from collections.abc import AsyncIterator

import pytest

from penstock.contracts.errors import BusUnavailable, InvalidInput
from penstock.deploy.services import dependencies
from penstock.deploy.services.health import STALLED_SECONDS, Health, HealthServer
from penstock.deploy.services.metrics import Metrics
from tests.servers.process import free_port


def page(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def beating() -> AsyncIterator[Health]:
    health = Health(("broker",))
    task = asyncio.create_task(health.run())
    yield health
    task.cancel()
    await asyncio.wait((task,))


async def test_pages_tell_what_is_missing_until_it_is_there(beating: Health) -> None:
    port = free_port()
    with HealthServer(f"127.0.0.1:{port}", beating, Metrics(beating).text):
        assert await asyncio.to_thread(page, port, "/livez") == (200, "alive\n")
        assert await asyncio.to_thread(page, port, "/readyz") == (503, "broker: not reached yet\n")
        beating.learn("broker", "")
        assert await asyncio.to_thread(page, port, "/readyz") == (200, "ready\n")
        status, metrics = await asyncio.to_thread(page, port, "/metrics")
        assert status == 200
        assert 'penstock_dependency_up{dependency="broker"} 1.0' in metrics
        assert (await asyncio.to_thread(page, port, "/nothing"))[0] == 404
        beating.is_draining = True
        assert await asyncio.to_thread(page, port, "/readyz") == (503, "draining\n")
        assert (await asyncio.to_thread(page, port, "/livez"))[0] == 200


def test_an_event_loop_that_stands_still_is_not_alive() -> None:
    clock = Clock()
    health = Health(clock=clock)

    clock.now += STALLED_SECONDS / 2
    assert health.live() == (True, "alive")
    clock.now += STALLED_SECONDS
    is_live, text = health.live()

    assert not is_live
    assert "has not turned for 15.0 s" in text
    assert not health.ready()[0]


async def test_a_dependency_that_goes_is_noticed_and_so_is_its_return() -> None:
    health = Health(("broker",), check_seconds=0.01)
    is_away = False

    async def check() -> None:
        if is_away:
            raise BusUnavailable("the broker is away")

    health.watch("broker", check)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(health.run())
        assert health.ready()[0]
        is_away = True
        while health.ready()[0]:
            await asyncio.sleep(0.01)
        assert health.ready()[1] == "broker: the broker is away"
        is_away = False
        while not health.ready()[0]:
            await asyncio.sleep(0.01)
        task.cancel()


def test_an_address_that_is_taken_is_named() -> None:
    port = free_port()
    with HealthServer(f"127.0.0.1:{port}", Health(), bytes), pytest.raises(InvalidInput, match="PENSTOCK_HEALTH_ADDRESS"):
        HealthServer(f"127.0.0.1:{port}", Health(), bytes)


async def test_what_may_pass_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "PAUSE_SECONDS", 0.0)
    health = Health(("broker",))
    failures = [ConnectionRefusedError("refused"), BusUnavailable("starting")]

    async def attempt() -> str:
        if failures:
            raise failures.pop()
        return "reached"

    began = time.monotonic()
    assert await dependencies.reached("broker", "host", attempt, health) == "reached"

    assert time.monotonic() - began < 10
    assert not health.ready()[0], "only a check says that it is there"
