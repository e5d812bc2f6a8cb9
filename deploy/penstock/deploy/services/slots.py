"""Which pools a runner serves and with how many slots, as the command line says: `--pool cpu --slots 4`, or `--pool cpu=4`."""

import math
import os
from collections.abc import Mapping, Sequence

from penstock.contracts.errors import InvalidInput
from penstock.contracts.pools import checked_pool_name


def slots_by_pool(pools: Sequence[str], slots: Sequence[int]) -> dict[str, int]:
    """Slots by pool. One count stands for all pools, none for the number of cores.

    :raises InvalidInput: a pool is malformed or named twice, or the counts don't fit the pools.
    """
    if not pools:
        raise InvalidInput("a runner needs a pool: penstock runner --pool cpu --slots 4")
    plain = [pool for pool in pools if "=" not in pool]
    if len(slots) not in (0, 1, len(plain)):
        raise InvalidInput(
            f"--slots is given {len(slots)} times and --pool {len(plain)} times; give one --slots for each --pool, or one for all"
        )
    counts = list(slots) if len(slots) == len(plain) else [slots[0] if slots else os.cpu_count() or 1] * len(plain)
    found: dict[str, int] = {}
    for pool in pools:
        name, equals, text = pool.partition("=")
        if equals and not text.isdigit():
            raise InvalidInput(f"--pool {pool}: write it as NAME=SLOTS, --pool cpu=4 for example")
        if checked_pool_name(name) in found:
            raise InvalidInput(f"--pool {name} is given twice; add the slots up")
        found[name] = int(text) if equals else counts.pop(0)
    if low := [name for name, count in found.items() if count < 1]:
        raise InvalidInput(f"the pool {low[0]} needs one slot at least; leave it out to serve it no more")
    return found


def gpus_by_pool(texts: Sequence[str], pools: Mapping[str, int]) -> dict[str, float]:
    """How many GPUs a slot of each pool has, from texts as `small-gpu=0.25`.

    :raises InvalidInput: one is malformed, or about a pool that is not served.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = -1.0
        if not 0 <= found[name] < math.inf:
            raise InvalidInput(f"--slot-gpus {text}: write it as POOL=GPUS, --slot-gpus small-gpu=0.25 for example")
        if name not in pools:
            raise InvalidInput(f"--slot-gpus {text}: this runner does not serve the pool {name!r}; it serves {', '.join(pools)}")
    return found
