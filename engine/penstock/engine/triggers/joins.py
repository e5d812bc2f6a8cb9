"""Joins: which held events of one key go together once another has come.

Nothing is dropped unseen: every event is joined, held, superseded or expired, and only one of these.

`each` pairs the k-th of one source with the k-th of each other, in the order of the events' numbers. How far apart events are
is told by when they were received, so a decision that comes late is the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from penstock.contracts.triggers import AllSource
from penstock.engine.triggers.arrivals import Arrival

_MICROSECONDS = 1_000_000


@dataclass(slots=True, kw_only=True)
class Joined:
    """What became of the events of one key. A group is in the order of the sources, and of one source in the order in which they came."""

    groups: list[tuple[Arrival, ...]] = field(default_factory=list[tuple[Arrival, ...]])
    remaining: list[Arrival] = field(default_factory=list[Arrival])
    superseded: list[Arrival] = field(default_factory=list[Arrival])
    expired: list[Arrival] = field(default_factory=list[Arrival])
    until_us: int | None = None
    """When the first of those that remain expires."""


def joined(source: AllSource, held: Sequence[Arrival], arrived: Iterable[Arrival], now_us: int) -> Joined:
    """What becomes of the held events of one key and of those that have come for it. One that is held already changes nothing."""
    outcome = Joined(remaining=sorted(set(held)))
    seen = {(*arrival.occurrence, arrival.member) for arrival in held}
    for arrival in sorted(arrived):
        if (*arrival.occurrence, arrival.member) not in seen:
            seen.add((*arrival.occurrence, arrival.member))
            outcome.remaining.append(arrival)
            _settle(source, outcome)
    return _expire(source, outcome, now_us)


def missing_members(source: AllSource, held: Iterable[Arrival]) -> list[int]:
    """The places of the sources that the held events of one key wait for."""
    present = {arrival.member for arrival in held}
    return [member for member in range(len(source.of)) if member not in present]


def _settle(source: AllSource, outcome: Joined) -> None:
    match source.policy:
        case "each":
            _pair(source, outcome)
        case "latest":
            _take_latest(source, outcome)
        case "batch":
            _take_all(source, outcome)


def _pair(source: AllSource, outcome: Joined) -> None:
    queues = _by_member(source, outcome.remaining)
    while all(queues):
        heads = [queue[0] for queue in queues]
        stale = _too_old(source, heads)
        outcome.expired += stale
        if not stale:
            outcome.groups.append(tuple(heads))
        for queue in queues:
            if not stale or queue[0] in stale:
                queue.pop(0)
    outcome.remaining = sorted(arrival for queue in queues for arrival in queue)


def _take_latest(source: AllSource, outcome: Joined) -> None:
    queues = _by_member(source, outcome.remaining)
    outcome.superseded += [arrival for queue in queues for arrival in queue[:-1]]
    newest = [queue[-1] for queue in queues if queue]
    _join_if_whole(source, outcome, newest)


def _take_all(source: AllSource, outcome: Joined) -> None:
    _join_if_whole(source, outcome, outcome.remaining)


def _join_if_whole(source: AllSource, outcome: Joined, arrivals: Sequence[Arrival]) -> None:
    """Joins `arrivals`, without those that are too old by the newest of them, if every source has one."""
    stale = _too_old(source, arrivals)
    fresh = [arrival for arrival in arrivals if arrival not in stale]
    outcome.expired += stale
    if missing_members(source, fresh):
        outcome.remaining = sorted(fresh)
        return
    outcome.groups.append(tuple(arrival for queue in _by_member(source, fresh) for arrival in queue))
    outcome.remaining = []


def _by_member(source: AllSource, arrivals: Iterable[Arrival]) -> list[list[Arrival]]:
    queues: list[list[Arrival]] = [[] for _ in source.of]
    for arrival in sorted(arrivals):
        queues[arrival.member].append(arrival)
    return queues


def _too_old(source: AllSource, arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Those that came too long before the newest."""
    if source.within_seconds is None or not arrivals:
        return []
    newest = max(arrival.received_us for arrival in arrivals)
    return [arrival for arrival in arrivals if newest - arrival.received_us > _within(source.within_seconds)]


def _expire(source: AllSource, outcome: Joined, now_us: int) -> Joined:
    if source.within_seconds is None:
        return outcome
    within = _within(source.within_seconds)
    outcome.expired += [arrival for arrival in outcome.remaining if arrival.received_us + within < now_us]
    outcome.remaining = [arrival for arrival in outcome.remaining if arrival.received_us + within >= now_us]
    # The moment after the last one at which it can still be joined.
    outcome.until_us = min((arrival.received_us + within + 1 for arrival in outcome.remaining), default=None)
    return outcome


def _within(seconds: float) -> int:
    return int(seconds * _MICROSECONDS)
