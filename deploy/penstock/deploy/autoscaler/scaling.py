"""How many runners a pool should have. Pure: it knows neither clock nor engine of containers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.contracts.pools import PoolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDemand:
    """In slots: what waits, and what is being executed."""

    waiting: int = 0
    executing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRunner:
    """A runner that this autoscaler started and that has not ended."""

    name: str
    is_idle: bool = False
    """Nothing is executed by it, as far as is known for certain."""
    is_draining: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """So many runners were needed, last at `at` seconds."""

    at: float
    runners: int


Needs = tuple[Need, ...]
"""Of the past that still counts: each needed more than all that came after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`drain` are names. `needs` is for the next decision."""

    wanted: int
    start: int
    drain: tuple[str, ...]
    needs: Needs


def needed(pool: PoolSpec, demand: PoolDemand) -> int:
    """Runners that would give every slot that is asked for, between the pool's bounds."""
    slots = demand.executing if pool.is_draining else demand.waiting + demand.executing
    return max(_least(pool), min(math.ceil(slots / pool.slots_per_runner), pool.max_runners))


def decide(pool: PoolSpec, demand: PoolDemand, runners: Sequence[PoolRunner], needs: Needs, now: float) -> Decision:
    """Starts at once what is needed; drains idle ones that nothing has needed for `idle_seconds`.

    Draining ones count as there: a pool never has more than `max_runners` at a time. Without a memory of needs what is there counts as
    needed just now: so an autoscaler that was started anew ends nothing in a hurry.
    """
    active = [runner for runner in runners if not runner.is_draining]
    wanted = needed(pool, demand)
    needs = _remembered(pool, needs or (Need(now, min(len(active), pool.max_runners)),), Need(now, wanted), now)
    room = max(0, pool.max_runners - len(runners))
    start = min(max(0, wanted - len(active)), room)
    kept = min(pool.max_runners, max(wanted, needs[0].runners))
    spare = [runner.name for runner in active if runner.is_idle][: max(0, len(active) - kept)]
    return Decision(wanted=wanted, start=start, drain=tuple(spare), needs=needs)


def _least(pool: PoolSpec) -> int:
    return 0 if pool.is_draining else min(pool.min_runners, pool.max_runners)


def _remembered(pool: PoolSpec, past: Needs, newest: Need, now: float) -> Needs:
    """What was needed less than `idle_seconds` ago, as far as no later need was as great."""
    kept = tuple(need for need in past if now - need.at < pool.idle_seconds and need.runners > newest.runners)
    return (*kept, newest)
