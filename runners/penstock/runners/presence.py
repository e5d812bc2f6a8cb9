"""A runner's presence: the heartbeats that tell what it is, offers, serves and holds, and what its own silence may have caused."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from penstock.contracts.errors import BusUnavailable
from penstock.contracts.messages import AttemptKey, Heartbeat, Order, Progress, Service, encode
from penstock.contracts.names import lane_of
from penstock.transport.bus import Bus, Envelope, Exchange

_log = structlog.get_logger(__name__)
_SILENT_BEATS = 3
"""Heartbeats that may be missing before others may think that this runner is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a runner works, as its heartbeats tell. `software`: the version of Penstock."""

    host: str = ""
    software: str = ""
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a runner is. `pools` maps the name of a pool, or of the lane of one of its `services`, to slots."""

    name: str
    incarnation: str
    pools: Mapping[str, int]
    workspace: str = "default"
    services: Sequence[Service] = ()
    machine: Machine = Machine()


class Presence:
    """`held` and `progress` are those of the moment; `beat_seconds` lie between two heartbeats."""

    def __init__(
        self,
        bus: Bus,
        identity: Identity,
        *,
        held: Callable[[], tuple[AttemptKey, ...]],
        progress: Callable[[], tuple[Progress, ...]],
        beat_seconds: float,
        doubt_seconds: float,
    ) -> None:
        self._bus = bus
        self._identity = identity
        self._held = held
        self._progress = progress
        self._beat_seconds = beat_seconds
        self._doubt_seconds = doubt_seconds
        self._unopened = {lane_of(service.pipeline, service.step) for service in identity.services}
        """Lanes whose queues may not be there yet."""
        self._doubts_until = 0.0
        self._beat_at = 0.0
        self._beat_now = asyncio.Event()
        self._is_leaving = False

    async def run(self) -> None:
        """Beats until it is cancelled."""
        while True:
            self._beat_now.clear()
            self._beat_at = asyncio.get_running_loop().time()
            try:
                await self._bus.publish(Envelope(exchange=Exchange.VITALS, body=encode(self._heartbeat())))
            except BusUnavailable as error:
                _log.warning("heartbeat.not_sent", reason=str(error))
            except Exception as error:  # noqa: BLE001  # whoever goes silent loses its work: the next one may be sent
                _log.error("heartbeat.impossible", reason=repr(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._beat_seconds):
                    await self._beat_now.wait()

    def leave(self) -> None:
        """From now on it takes no orders, and says so at once."""
        self._is_leaving = True
        self._beat_now.set()

    def opened(self, pool: str) -> None:
        """There is a queue for the orders of the pool or lane. A lane is announced from then on."""
        if pool in self._unopened:
            self._unopened.discard(pool)
            self.doubt()
            self._beat_now.set()

    def doubt(self) -> None:
        """It was not heard, or could not hear, for a while."""
        self._doubts_until = asyncio.get_running_loop().time() + self._doubt_seconds

    def may_be_over(self, order: Order) -> bool:
        """Whether the order may have been waiting in the queue of a lane when that was taken for dead, and its step run went elsewhere."""
        if "/" not in order.pool:
            return False
        now = asyncio.get_running_loop().time()
        if now - self._beat_at > _SILENT_BEATS * self._beat_seconds:
            self.doubt()
        return now < self._doubts_until

    def _heartbeat(self) -> Heartbeat:
        identity, machine = self._identity, self._identity.machine
        # What takes no more orders has no slots to offer.
        opened = {} if self._is_leaving else {pool: slots for pool, slots in identity.pools.items() if pool not in self._unopened}
        return Heartbeat(
            runner=identity.name,
            incarnation=identity.incarnation,
            workspace=identity.workspace,
            pools=opened,
            services=tuple(service for service in identity.services if lane_of(service.pipeline, service.step) in opened),
            attempts=self._held(),
            progress=self._progress(),
            host=machine.host,
            software=machine.software,
            gpus=machine.gpus,
            is_draining=self._is_leaving,
        )
