"""The fleet: which runners are there, as a process hears them beat. The rules of presence are those by which attempts are lost."""

import asyncio
import secrets
from collections import defaultdict

import structlog

from penstock.contracts.errors import BusUnavailable, ContractError
from penstock.contracts.fleet_views import RunnerView
from penstock.contracts.messages import Heartbeat, Progress, Tick, decode, encode
from penstock.engine.presence import Presence
from penstock.transport.bus import Bus, Envelope, Exchange

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.fleet")

TICK_SECONDS = 1.0


class Fleet:
    """Hears the heartbeats of every runner while `run` goes. A runner is gone when it was not heard for `patience` seconds."""

    def __init__(self, bus: Bus, patience: float = 30.0) -> None:
        self._bus = bus
        self._name = f"fleet-{secrets.token_hex(4)}"
        self._presence: Presence[str] = Presence(patience=patience)
        self._last: dict[str, tuple[Heartbeat, float]] = {}
        """The newest heartbeat by runner, and when it came, in the event loop's seconds."""

    async def run(self) -> None:
        """Listens until it is cancelled; what it knows outlives a lost connection."""
        while True:
            try:
                async with self._bus.listen(Exchange.VITALS) as listener, asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._tick())
                    async for body in listener:
                        self._hear(body)
            except* BusUnavailable as errors:
                log.warning("bus.lost", reason=str(errors.exceptions[0]))
            await asyncio.sleep(TICK_SECONDS)

    def runners(self, workspace: str) -> tuple[RunnerView, ...]:
        """Those of the workspace that live, by name."""
        self._forget()
        now = asyncio.get_running_loop().time()
        return tuple(_view(heartbeat, now - at) for _, (heartbeat, at) in sorted(self._last.items()) if heartbeat.workspace == workspace)

    def slots(self, workspace: str) -> dict[str, list[int]]:
        """By pool or lane, the slots of each runner of the workspace that takes orders of it."""
        self._forget()
        found: dict[str, list[int]] = defaultdict(list)
        for heartbeat, _ in self._last.values():
            offers_nothing = heartbeat.is_draining or heartbeat.workspace != workspace
            for pool, slots in ({} if offers_nothing else heartbeat.pools).items():
                found[pool].append(slots)
        return dict(found)

    def progress(self, run_no: int) -> list[Progress]:
        """What the attempts of a run said of how far they are."""
        return [told for heartbeat, _ in self._last.values() for told in heartbeat.progress if told.attempt.run_no == run_no]

    def _forget(self) -> None:
        for name in self._presence.lost(self._last):
            del self._last[name]

    def _hear(self, body: bytes) -> None:
        try:
            message = decode(body)
        except ContractError as error:
            log.warning("heartbeat.refused", reason=str(error))
            return
        match message:
            case Tick() if message.coordinator == self._name:
                self._presence.tick_returned(message.sent_at)
            case Heartbeat():
                at = asyncio.get_running_loop().time()
                self._presence.heard([message.runner], at)
                self._last[message.runner] = (message, at)
            case _:
                pass

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            tick = Tick(coordinator=self._name, sent_at=loop.time())
            await self._bus.publish(Envelope(exchange=Exchange.VITALS, key="tick", body=encode(tick)))
            await asyncio.sleep(TICK_SECONDS)


def _view(heartbeat: Heartbeat, ago: float) -> RunnerView:
    return RunnerView(
        name=heartbeat.runner,
        incarnation=heartbeat.incarnation,
        pools=heartbeat.pools,
        services=heartbeat.services,
        attempts=len(heartbeat.attempts),
        host=heartbeat.host,
        software=heartbeat.software,
        gpus=heartbeat.gpus,
        is_draining=heartbeat.is_draining,
        heard_seconds_ago=round(ago, 3),
    )
