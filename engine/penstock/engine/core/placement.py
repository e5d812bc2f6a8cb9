"""Where a step run is executed and how many slots it takes, by the definitions of pools and by how often it ran out of memory.

Pure. A pool that nobody has defined takes every step, each for one slot.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.contracts.pools import PoolSpec
from penstock.contracts.spec import ResourcesSpec, StepSpec

Pools = Mapping[str, PoolSpec]
"""The definitions of a workspace, by name."""


@dataclass(frozen=True, slots=True)
class Placement:
    pool: str
    slots: int = 1


def pool_of_step(options: Mapping[str, Any], step: StepSpec) -> str:
    """The pool that a run's options, or else the step, name."""
    pool: str = options.get("pools", {}).get(step.name, step.pool)
    return pool


def placement(pools: Pools, pool: str, resources: ResourcesSpec, raises: int = 0) -> Placement:
    """Where a step of `pool` goes after it ran out of memory `raises` times: each time to twice the slots, up to a whole runner, and
    then to the pool that the definition names."""
    place = _first(pools, pool, resources)
    for _ in range(raises):
        place = _raised(pools, place, resources)
    return place


def can_raise(pools: Pools, pool: str, resources: ResourcesSpec, raises: int) -> bool:
    """Whether there is more memory to be had than after `raises` times."""
    place = placement(pools, pool, resources, raises)
    return _raised(pools, place, resources) != place


def memory_limit(pools: Pools, place: Placement, resources: ResourcesSpec, raises: int) -> int | None:
    """What a step may use after it ran out of memory; None: what its resources say."""
    if not raises or resources.memory_bytes is None:
        return None
    spec = pools.get(place.pool)
    if spec is None or spec.slot.memory_bytes is None:
        return None
    return max(resources.memory_bytes, place.slots * spec.slot.memory_bytes)


def _first(pools: Pools, pool: str, resources: ResourcesSpec) -> Placement:
    spec = pools.get(pool)
    if spec is None:
        return Placement(pool)
    # A definition that has changed since the step was admitted may have no room for it: then it waits.
    return Placement(pool, spec.slots_needed(resources) or spec.slots_per_runner + 1)


def _raised(pools: Pools, place: Placement, resources: ResourcesSpec) -> Placement:
    spec = pools.get(place.pool)
    if spec is None:
        return place
    if place.slots < spec.slots_per_runner:
        return Placement(place.pool, min(2 * place.slots, spec.slots_per_runner))
    larger = pools.get(spec.on_memory) if spec.on_memory is not None else None
    return place if larger is None else _in_larger(larger, spec, place, resources)


def _in_larger(larger: PoolSpec, spec: PoolSpec, place: Placement, resources: ResourcesSpec) -> Placement:
    """In the pool for those that need more memory than `spec` has: with twice of what was too little, if a runner there has that."""
    if spec.slot.memory_bytes is not None and larger.slot.memory_bytes is not None:
        wanted = min(2 * place.slots * spec.slot.memory_bytes, larger.slots_per_runner * larger.slot.memory_bytes)
        resources = resources.model_copy(update={"memory_bytes": max(wanted, resources.memory_bytes or 0)})
    needed = larger.slots_for(resources)
    return place if needed is None else Placement(larger.name, needed)
