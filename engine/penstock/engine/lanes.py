"""Which lanes are served, as one coordinator hears it, and what becomes of those that nobody serves any more.

Every coordinator hears every heartbeat and acts by itself: what one of them has moved, the next one finds in its place.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import Connection

from penstock.contracts.messages import AttemptKey, Heartbeat
from penstock.contracts.names import lane_of
from penstock.engine.core.lanes import LaneKey, Lanes
from penstock.engine.core.wants import Lost
from penstock.engine.lane_rows import lanes_in_use, not_begun, runs_waiting_for, runs_waiting_in, settle
from penstock.engine.presence import Presence
from penstock.engine.store import Store

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.lanes")

RUNS_AT_ONCE = 50
"""Runs whose step runs one transaction moves."""
REMEMBERED = 1000
"""Lanes that are served no more, to which somebody slow may still add."""


@dataclass(frozen=True, slots=True)
class _Announced:
    """What the last heartbeat of a runner said."""

    services: frozenset[tuple[LaneKey, str]]
    held: frozenset[AttemptKey]


class LaneWatch:
    """Hears who serves which lanes, and keeps ready step runs where they belong. `tell` has a fact decided.

    A lane is served while a runner announces it that is not draining. It is dead at once when the last one that did so has taken its
    announcement back or is gone; where this process has never heard of one, after the whole patience.
    """

    def __init__(self, store: Store, tell: Callable[[int, Lost], object], patience: float) -> None:
        self._store = store
        self._tell = tell
        self._announced: dict[str, _Announced] = {}
        self._served: dict[LaneKey, frozenset[str]] = {}
        self._changed: set[LaneKey] = set()
        self._left: set[LaneKey] = set()
        """Lanes that were served, as far as this process heard, and are not any more."""
        self._presence: Presence[LaneKey] = Presence(patience=patience)

    @property
    def served(self) -> Lanes:
        """The lanes that are served now."""
        return self._served

    def heard(self, heartbeat: Heartbeat) -> None:
        """A runner has told what it serves."""
        services = () if heartbeat.is_draining else heartbeat.services
        keys = frozenset(((service.workspace, lane_of(service.pipeline, service.step)), service.code) for service in services)
        before = self._announced.get(heartbeat.runner)
        self._announced[heartbeat.runner] = _Announced(keys, frozenset(heartbeat.attempts))
        if keys != (before.services if before is not None else frozenset()):
            self._recount()

    def tick_returned(self, sent_at: float) -> None:
        """An own tick came back: this process can hear."""
        self._presence.tick_returned(sent_at)

    def forget(self, runner: str) -> None:
        """The runner is gone."""
        before = self._announced.pop(runner, None)
        if before is not None and before.services:
            self._recount()

    def _recount(self) -> None:
        codes: dict[LaneKey, set[str]] = {}
        for announced in self._announced.values():
            for lane, code in announced.services:
                codes.setdefault(lane, set()).add(code)
        served = {lane: frozenset(found) for lane, found in codes.items()}
        self._changed |= {lane for lane in {*served, *self._served} if served.get(lane) != self._served.get(lane)}
        self._left = (self._left | {*self._served}) - {*served}
        self._served = served

    async def look(self) -> None:
        """Has step runs follow what was announced, and empties lanes that are dead.

        :raises StoreUnavailable: the next look does it.
        """
        used = await self._store.read(lanes_in_use)
        dead = (used & self._left) | set(self._presence.lost(used - {*self._served} - self._left))
        changed, self._changed = self._changed, set()
        try:
            for lane in sorted(changed | dead):
                await self._settle(lane)
        except BaseException:
            self._changed |= changed
            raise
        for lane in sorted(dead - {*self._served}):
            await self._give_up(lane)
        if len(self._left) > REMEMBERED:
            self._left &= used

    async def _settle(self, lane: LaneKey) -> None:
        """Moves what waits in the lane and does not belong there, and what belongs there and waits elsewhere."""
        runs = await self._store.read(lambda connection: self._concerned(connection, lane))
        for start in range(0, len(runs), RUNS_AT_ONCE):
            moved = await self._store.transaction(partial(settle, runs=runs[start : start + RUNS_AT_ONCE], lanes=self._served))
            if moved:
                log.info("lane.moved", workspace=lane[0], lane=lane[1], is_served=lane in self._served, groups=moved)

    def _concerned(self, connection: Connection, lane: LaneKey) -> list[int]:
        runs = runs_waiting_in(connection, lane)
        return sorted(runs | runs_waiting_for(connection, lane) if lane in self._served else runs)

    async def _give_up(self, lane: LaneKey) -> None:
        """Orders in the queue of a dead lane reach nobody."""
        held = self._held()
        for run_no, lost in await self._store.read(lambda connection: not_begun(connection, lane, held)):
            self._tell(run_no, lost)

    def _held(self) -> Collection[AttemptKey]:
        """What runners that are not gone execute: also those that take no more orders."""
        return frozenset(attempt for announced in self._announced.values() for attempt in announced.held)
