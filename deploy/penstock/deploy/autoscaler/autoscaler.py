"""The autoscaler: looks at demand and at runners, decides for each pool, and has its host start and drain. It keeps nothing that matters:
started anew it finds its runners on the host."""

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from penstock.contracts.errors import PenstockError
from penstock.contracts.fleet_views import PoolView, RunnerView
from penstock.contracts.pools import PoolSpec
from penstock.deploy.autoscaler.fleet_source import FleetSource, FleetView
from penstock.deploy.autoscaler.hosts import HostedRunner, HostUnavailable, RunnerHost, RunnerNotStarted
from penstock.deploy.autoscaler.scaling import Decision, Needs, PoolDemand, PoolRunner, decide

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.autoscaler")

LEAST_PAUSE_SECONDS = 5.0
MOST_PAUSE_SECONDS = 300.0
"""Between two tries to start a runner where the last ones failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """In seconds."""

    look: float = 5.0
    begin: float = 60.0
    """So long a runner may take until it is heard; until then it counts as one that works."""


@dataclass(slots=True)
class PoolState:
    """What is known of a pool between two looks."""

    needs: Needs = ()
    failures: int = 0
    """In a row."""
    not_before: float = -math.inf
    reason: str = ""
    """Why its runners can't be started; empty: they can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus:
    """For metrics and health."""

    wanted: int
    runners: int
    draining: int
    reason: str


@dataclass(slots=True)
class _Known:
    """Of a runner, since this process knows it."""

    since: float
    heard: RunnerView | None = None
    heard_at: float = -math.inf
    is_asked_to_drain: bool = False


Show = Callable[[str, PoolStatus], None]


def _not_shown(pool: str, status: PoolStatus) -> None:
    return


class Autoscaler:
    """`pools` gives the definitions that hold now, of a look at the fleet. `show` is told of every pool after each look."""

    def __init__(
        self,
        host: RunnerHost,
        fleet: FleetSource,
        pools: Callable[[FleetView], Sequence[PoolSpec]],
        *,
        pace: Pace = Pace(),
        show: Show = _not_shown,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._fleet = fleet
        self._pools = pools
        self._pace = pace
        self._show = show
        self._now = now
        self._states: dict[str, PoolState] = {}
        self._known: dict[str, _Known] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        """By pool: fetching an image takes minutes, and other pools need not wait for it."""
        self._is_over = asyncio.Event()
        self.reason = "it has not looked yet"
        """Why it can't see or act at present; empty: it can."""

    def stop(self) -> None:
        """The look that is under way is the last one."""
        self._is_over.set()

    async def check(self) -> None:
        """:raises HostUnavailable: it can't see or act at present."""
        if self.reason:
            raise HostUnavailable(self.reason)

    async def run(self) -> None:
        """Looks until it is stopped. Whatever can't be reached is tried again; meanwhile nothing is ended."""
        while not self._is_over.is_set():
            try:
                await self.look()
                self.reason = ""
            except PenstockError as error:
                if str(error) != self.reason:
                    log.warning("autoscaler.blind", reason=str(error), consequence="no runner is started or ended meanwhile")
                self.reason = str(error)
            try:
                async with asyncio.timeout(self._pace.look):
                    await self._is_over.wait()
            except TimeoutError:
                continue
        await self.settled()

    async def drain_all(self) -> None:
        """Asks every runner to end, and returns when all have ended."""
        while True:
            there = await self._removed_ended(await self._host.runners(), self._now())
            if not there:
                return
            for runner in there:
                await self._drain(runner.name)
            await asyncio.sleep(min(1.0, self._pace.look))

    async def look(self) -> None:
        """Once.

        :raises PenstockError: fleet or host can't be reached.
        """
        now = self._now()
        hosted = await self._removed_ended(await self._host.runners(), now)
        seen = await self._fleet.look()
        self._learn(hosted, seen, now)
        pools = {pool.name: pool for pool in self._pools(seen)}
        # What nobody defines any more ends.
        for name in {runner.pool for runner in hosted} - set(pools):
            pools[name] = PoolSpec(name=name, max_runners=0, idle_seconds=0)
        for pool in pools.values():
            await self._scale(pool, seen, [runner for runner in hosted if runner.pool == pool.name], now)

    async def settled(self) -> None:
        """Returns when what it is starting has been started, or can't be."""
        await asyncio.gather(*self._starting.values())

    # What is there

    async def _removed_ended(self, hosted: Sequence[HostedRunner], now: float) -> list[HostedRunner]:
        for runner in hosted:
            if runner.exit_code is not None:
                self._note_end(runner, now)
                self._known.pop(runner.name, None)
                await self._host.remove(runner.name)
        return [runner for runner in hosted if runner.exit_code is None]

    def _note_end(self, runner: HostedRunner, now: float) -> None:
        known = self._known.get(runner.name)
        if runner.exit_code == 0:
            log.info("runner.ended", runner=runner.name, pool=runner.pool)
            return
        log.error("runner.failed", runner=runner.name, pool=runner.pool, exit_code=runner.exit_code, last_words=runner.last_words)
        if known is not None and known.heard is None:
            # It never worked: the next one would not either.
            words = runner.last_words.strip().splitlines()
            self._failed(runner.pool, f"its last runner ended with {runner.exit_code}: {words[-1] if words else 'without a word'}", now)

    def _learn(self, hosted: Sequence[HostedRunner], seen: FleetView, now: float) -> None:
        names = {runner.name for runner in hosted}
        self._known = {name: known for name, known in self._known.items() if name in names}
        for runner in hosted:
            known = self._known.setdefault(runner.name, _Known(now))
            if (heard := seen.runners.get(runner.name)) is not None:
                if known.heard is None:
                    self._state(runner.pool).failures = 0
                    self._state(runner.pool).reason = ""
                known.heard, known.heard_at = heard, now

    def _as_pool_runner(self, runner: HostedRunner, now: float) -> PoolRunner:
        known = self._known[runner.name]
        is_silent = now - max(known.since, known.heard_at) > self._pace.begin
        is_idle = is_silent or (known.heard is not None and known.heard_at == now and known.heard.attempts == 0)
        is_draining = known.is_asked_to_drain or (known.heard is not None and known.heard.is_draining)
        return PoolRunner(name=runner.name, is_idle=is_idle, is_draining=is_draining)

    # What is done

    async def _scale(self, pool: PoolSpec, seen: FleetView, hosted: Sequence[HostedRunner], now: float) -> None:
        state = self._state(pool.name)
        runners = [self._as_pool_runner(runner, now) for runner in hosted]
        decision = decide(pool, _demand(seen.pools, pool.name), runners, state.needs, now)
        state.needs = decision.needs
        for name in decision.drain:
            log.info("runner.drained", runner=name, pool=pool.name, why=f"nothing has needed it for {pool.idle_seconds:g} s")
            await self._drain(name)
        if decision.start and pool.name not in self._starting and now >= state.not_before:
            starting = self._starting[pool.name] = asyncio.get_running_loop().create_task(self._start(pool, decision))
            starting.add_done_callback(lambda _: self._starting.pop(pool.name))
        draining = sum(runner.is_draining for runner in runners) + len(decision.drain)
        self._show(pool.name, PoolStatus(wanted=decision.wanted, runners=len(runners), draining=draining, reason=state.reason))

    async def _start(self, pool: PoolSpec, decision: Decision) -> None:
        for _ in range(decision.start):
            name = f"{pool.name}-{secrets.token_hex(4)}"
            try:
                await self._host.start(pool, name)
            except (RunnerNotStarted, HostUnavailable) as error:
                self._failed(pool.name, str(error), self._now())
                return
            self._known.setdefault(name, _Known(self._now()))
            log.info("runner.started", runner=name, pool=pool.name, wanted=decision.wanted)

    async def _drain(self, name: str) -> None:
        if name in self._known:
            self._known[name].is_asked_to_drain = True
        await self._host.drain(name)

    def _failed(self, pool: str, reason: str, now: float) -> None:
        state = self._state(pool)
        pause = min(MOST_PAUSE_SECONDS, LEAST_PAUSE_SECONDS * 2**state.failures)
        state.failures += 1
        state.reason = reason
        state.not_before = now + pause
        log.error("runner.not_started", pool=pool, reason=reason, failures=state.failures, again_in_seconds=pause)

    def _state(self, pool: str) -> PoolState:
        return self._states.setdefault(pool, PoolState())


def _demand(pools: Mapping[str, PoolView], name: str) -> PoolDemand:
    view = pools.get(name)
    return PoolDemand() if view is None else PoolDemand(waiting=view.waiting_slots, executing=view.executing_slots)
