"""The fleet: who is there by heartbeats, and who is not any more."""

import asyncio

from penstock.contracts.messages import Heartbeat, encode
from penstock.engine.fleet import Fleet
from penstock.transport.bus import Envelope, Exchange
from penstock.transport.buses.memory import MemoryBus


async def test_a_runner_that_falls_silent_is_gone_and_one_that_beats_stays() -> None:
    bus = MemoryBus()
    fleet = Fleet(bus, patience=1.5)
    listening = asyncio.create_task(fleet.run())

    async def beat(*names: str) -> None:
        for name in names:
            beat = Heartbeat(runner=name, incarnation="1", pools={"cpu": 2})
            await bus.publish(Envelope(exchange=Exchange.VITALS, body=encode(beat)))

    async with asyncio.timeout(20):
        while len(fleet.runners("default")) < 2:
            await beat("stays", "goes")
            await asyncio.sleep(0.02)
        assert fleet.slots("default") == {"cpu": [2, 2]}
        while len(fleet.runners("default")) > 1:
            await beat("stays")
            await asyncio.sleep(0.05)

    assert [runner.name for runner in fleet.runners("default")] == ["stays"]
    assert fleet.slots("default") == {"cpu": [2]}
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
