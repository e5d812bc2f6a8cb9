"""Policies that hold events and runs back: debounce, batch, throttle, concurrency.

They are decided by when events were received, so that a decision that comes late is the same. Times are microseconds since 1970 UTC.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from penstock.contracts.triggers import BatchPolicy, Concurrency, Debounce, Throttle
from penstock.engine.triggers.arrivals import Arrival

_MICROSECONDS = 1_000_000


@dataclass(slots=True, kw_only=True)
class Debounced:
    """`fire`: the last event of each burst that is over; `superseded`: the others in it. The open burst is held whole until `until_us`."""

    fire: list[Arrival] = field(default_factory=list[Arrival])
    superseded: list[Arrival] = field(default_factory=list[Arrival])
    remaining: list[Arrival] = field(default_factory=list[Arrival])
    until_us: int | None = None


@dataclass(slots=True, kw_only=True)
class Batched:
    groups: list[tuple[Arrival, ...]] = field(default_factory=list[tuple[Arrival, ...]])
    remaining: list[Arrival] = field(default_factory=list[Arrival])
    until_us: int | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """It may begin."""


@dataclass(frozen=True, slots=True)
class Queue:
    """It waits for a place."""


@dataclass(frozen=True, slots=True)
class Skip:
    """It is left out."""

    reason: str


@dataclass(frozen=True, slots=True)
class Replace:
    """It may begin once these runs are asked to end."""

    run_ids: tuple[str, ...]


def debounced(policy: Debounce, held: Iterable[Arrival], now_us: int) -> Debounced:
    """What becomes of the held events of one key."""
    outcome = Debounced()
    burst: list[Arrival] = []
    for arrival in sorted({*held}, key=lambda one: (one.received_us, one)):
        if burst and arrival.received_us >= _burst_end(policy, burst):
            _fire(outcome, burst)
            burst = []
        burst.append(arrival)
    if burst and _burst_end(policy, burst) <= now_us:
        _fire(outcome, burst)
    elif burst:
        outcome.remaining, outcome.until_us = burst, _burst_end(policy, burst)
    return outcome


def batched(policy: BatchPolicy, held: Iterable[Arrival], now_us: int) -> Batched:
    """What becomes of the held events of one key: batches that are full, or whose time is over."""
    outcome = Batched()
    batch: list[Arrival] = []
    for arrival in sorted({*held}, key=lambda one: (one.received_us, one)):
        if batch and arrival.received_us >= _batch_end(policy, batch, arrival.received_us + 1):
            outcome.groups.append(tuple(batch))
            batch = []
        batch.append(arrival)
        if len(batch) == policy.size:
            outcome.groups.append(tuple(batch))
            batch = []
    if batch and _batch_end(policy, batch, now_us + 1) <= now_us:
        outcome.groups.append(tuple(batch))
    elif batch:
        outcome.remaining = batch
        outcome.until_us = None if policy.seconds is None else _batch_end(policy, batch, 0)
    return outcome


def throttled_until(policy: Throttle, starts_us: Iterable[int], now_us: int) -> int | None:
    """When the next run may begin, given when the last ones did; None: now."""
    window = int(policy.seconds * _MICROSECONDS)
    recent = sorted(at for at in starts_us if at > now_us - window)
    return recent[-policy.count] + window if len(recent) >= policy.count else None


def placed(policy: Concurrency, live: Sequence[str], *, others_wait: bool = False) -> Start | Queue | Skip | Replace:
    """What becomes of another run of a key whose runs `live` go on, the oldest first. `others_wait`: some queue for a place before it."""
    is_full = len(live) >= policy.limit
    match policy.policy:
        case "queue":
            return Queue() if is_full or others_wait else Start()
        case "skip":
            return Skip(f"{len(live)} of its runs go on, {policy.limit} at most") if is_full else Start()
        case "replace":
            return Replace(tuple(live[: len(live) - policy.limit + 1])) if is_full else Start()


def _burst_end(policy: Debounce, burst: Sequence[Arrival]) -> int:
    quiet = burst[-1].received_us + int(policy.seconds * _MICROSECONDS)
    if policy.at_most_seconds is None:
        return quiet
    return min(quiet, burst[0].received_us + int(policy.at_most_seconds * _MICROSECONDS))


def _fire(outcome: Debounced, burst: Sequence[Arrival]) -> None:
    outcome.fire.append(burst[-1])
    outcome.superseded += burst[:-1]


def _batch_end(policy: BatchPolicy, batch: Sequence[Arrival], otherwise: int) -> int:
    """When its time is over; `otherwise` where it has all the time."""
    return otherwise if policy.seconds is None else batch[0].received_us + int(policy.seconds * _MICROSECONDS)
