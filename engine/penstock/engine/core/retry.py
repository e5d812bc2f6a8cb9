"""Whether a failed attempt is followed by another, and when."""

import hashlib
from dataclasses import dataclass

from penstock.contracts.messages import Failure
from penstock.contracts.spec import RetrySpec

INFRASTRUCTURE_BUDGET = 5
"""Attempts of one step run that may be lost to broken runners before it fails."""

MICROSECONDS = 1_000_000
# Delays reach their maximum long before; floats have no room for any number of multiplications.
_DOUBLINGS = 100


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again at `at` (microseconds since 1970)."""

    at: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: str


def after_failure(policy: RetrySpec, failure: Failure, failures: int, seed: str, now: int, *, is_granted: bool = False) -> Retry | GiveUp:
    """The verdict after the `failures`-th failure of a step run. `is_granted`: it is tried again whatever the policy says.

    The jitter is drawn from `seed`, so that deciding twice decides the same.
    """
    if is_granted:
        return _later(policy, failures, seed, now)
    if failures > policy.limit:
        return GiveUp("its retries are used up" if policy.limit else "")
    if policy.on and failure.kind.value not in policy.on:
        return GiveUp(f"its retries are for {', '.join(policy.on)} only")
    return _later(policy, failures, seed, now)


def _later(policy: RetrySpec, failures: int, seed: str, now: int) -> Retry:
    delay = min(policy.delay_seconds * policy.factor ** min(failures - 1, _DOUBLINGS), policy.max_delay_seconds)
    draw = int.from_bytes(hashlib.sha256(f"{seed}/{failures}".encode()).digest()[:4], "big") / 2**32
    return Retry(now + int(delay * (1 + policy.jitter * (2 * draw - 1)) * MICROSECONDS))
