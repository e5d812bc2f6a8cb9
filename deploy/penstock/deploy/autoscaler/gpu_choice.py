"""Which GPUs of a host a runner is given: those that no other runner of this autoscaler has."""

import math
from collections.abc import Collection, Sequence

from penstock.contracts.pools import PoolSpec
from penstock.deploy.autoscaler.hosts import RunnerNotStarted


def gpus_for(pool: PoolSpec, gpus: Sequence[str], taken: Collection[str]) -> tuple[str, ...]:
    """UUIDs for one more runner of the pool; none where its slots need none.

    :raises RunnerNotStarted: too few are free.
    """
    count = math.ceil(pool.slot.gpu * pool.slots_per_runner)
    free = [gpu for gpu in gpus if gpu not in taken]
    if count > len(free):
        raise RunnerNotStarted(
            f"a runner of the pool {pool.name!r} needs {count} GPU{'s' if count > 1 else ''}, and of the {len(gpus)} here {len(free)} are "
            "free; lower max_runners, or name the GPUs in `runners: gpus:` if this process can't see them"
        )
    return tuple(free[:count])


def runner_arguments(pool: PoolSpec) -> list[str]:
    """What follows `penstock`."""
    shares = ["--slot-gpus", f"{pool.name}={pool.slot.gpu:g}"] if pool.slot.gpu else []
    return ["runner", "--pool", f"{pool.name}={pool.slots_per_runner}", *shares]
