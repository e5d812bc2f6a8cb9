"""The limits of a pool: how many attempts at once, and how many new ones a second, of a step or for each value of a run's tag.

A limit holds on attempts that are dispatched and not closed. Everything here happens under the lock of the pool that dispatching takes,
so that any number of coordinators together keep to it. What is limited waits, and others of the pool go on.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from penstock.contracts.pools import Limit
from penstock.engine import tables
from penstock.engine.statement import Statement

BURST_SECONDS = 0.1
"""Of a rate that many may begin together, one at least."""
MICROSECONDS = 1_000_000
_live = Statement(
    "SELECT run_no, node, count(*) FROM attempt WHERE workspace = :workspace AND pool = :pool "
    "AND state IN ('dispatched', 'running') GROUP BY run_no, node"
)
_buckets = Statement("SELECT name, tokens, at FROM bucket WHERE workspace = :workspace AND pool = :pool")
_put_bucket = Statement.insert(
    tables.bucket, otherwise="ON CONFLICT (workspace, pool, name) DO UPDATE SET tokens = excluded.tokens, at = excluded.at"
)
_forget_buckets = Statement("DELETE FROM bucket WHERE workspace = :workspace AND pool = :pool AND at < :before")
FULL_MICROSECONDS = 3_600 * MICROSECONDS
"""A bucket that nobody took from for so long is full, whatever its rate is, and needs no row."""

Pair = tuple[int, int]
"""A run and a node of it: what limits can't tell apart."""


class Subject(Protocol):
    """What limits look at in a run."""

    @property
    def workspace(self) -> str: ...
    @property
    def pipeline(self) -> str: ...
    @property
    def given_tags(self) -> Mapping[str, str]: ...
    def step_name(self, node: int) -> str: ...


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: int
    rate: float
    is_changed: bool = False

    @property
    def burst(self) -> float:
        return max(1.0, self.rate * BURST_SECONDS)

    def fill(self, now: int) -> None:
        if now > self.at:
            self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate / MICROSECONDS)
            self.at = now

    def next_at(self) -> int:
        return self.at + int((1.0 - self.tokens) / self.rate * MICROSECONDS) + 1


class Gate:
    """The limits of one pool of a workspace, for one transaction. `subject` tells what is known of a run."""

    def __init__(
        self, connection: Connection, place: tuple[str, str], limits: Sequence[Limit], subject: Callable[[int], Subject], now: int
    ) -> None:
        self._connection = connection
        self._workspace, self._pool = place
        self._limits = limits
        self._subject = subject
        self._now = now
        self._names: dict[Pair, list[tuple[str, Limit]]] = {}
        self._live = self._count() if any(limit.at_once is not None for limit in limits) else Counter[str]()
        self._buckets = self._load() if any(limit.per_second is not None for limit in limits) else {}
        self.shut: set[Pair] = set()
        """Those that were found to be at a limit."""
        self.changes = 0
        """How often somebody was shut, or let in again."""

    def _count(self) -> "Counter[str]":
        counts: Counter[str] = Counter()
        for run_no, node, count in _live.rows(self._connection, workspace=self._workspace, pool=self._pool):
            for name, _ in self._about((run_no, node)):
                counts[name] += count
        return counts

    def _load(self) -> dict[str, _Bucket]:
        rows = _buckets.rows(self._connection, workspace=self._workspace, pool=self._pool)
        return {name: _Bucket(tokens, at, 1.0) for name, tokens, at in rows}

    def _about(self, pair: Pair) -> list[tuple[str, Limit]]:
        """The limits that a step of a run is under, by name."""
        if pair not in self._names:
            self._names[pair] = [(name, limit) for limit in self._limits if (name := self._name(limit, pair)) is not None]
        return self._names[pair]

    def _name(self, limit: Limit, pair: Pair) -> str | None:
        try:
            subject = self._subject(pair[0])
            step = f"{subject.pipeline}/{subject.step_name(pair[1])}"
        except (LookupError, ValueError):
            return None
        if subject.workspace != self._workspace or limit.step not in (None, step):
            return None
        value = subject.given_tags.get(limit.key) if limit.key is not None else None
        return None if limit.key is not None and value is None else json.dumps([limit.step, limit.key, value])

    def lets(self, pair: Pair) -> bool:
        """Whether one more may be given out; else it is shut."""
        if pair in self.shut:
            return False
        if all(self._has_room(name, limit) for name, limit in self._about(pair)):
            return True
        self.shut.add(pair)
        self.changes += 1
        return False

    def reached(self, pair: Pair) -> str:
        """The limits that a step of a run is at, for people."""
        return " and ".join(limit.describe() for name, limit in self._about(pair) if not self._has_room(name, limit))

    def _has_room(self, name: str, limit: Limit) -> bool:
        if limit.at_once is not None and self._live[name] >= limit.at_once:
            return False
        return limit.per_second is None or self._bucket(name, limit.per_second).tokens >= 1.0

    def _bucket(self, name: str, rate: float) -> _Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(max(1.0, rate * BURST_SECONDS), self._now, rate)
        bucket.rate = rate
        bucket.fill(self._now)
        return bucket

    def take(self, pair: Pair, count: int = 1) -> None:
        """One is given out; with -1, it is not after all."""
        for name, limit in self._about(pair):
            self._live[name] += count
            if limit.per_second is not None:
                bucket = self._bucket(name, limit.per_second)
                bucket.tokens -= count
                bucket.is_changed = True
        if count < 0 and self.shut:
            # Somebody else may have what this one does not need.
            self.shut.clear()
            self.changes += 1

    def save(self) -> int | None:
        """Writes the buckets; when the next of those that are empty has something again, if one is."""
        changed = [(name, bucket) for name, bucket in sorted(self._buckets.items()) if bucket.is_changed]
        _put_bucket.many(
            self._connection,
            [
                {"workspace": self._workspace, "pool": self._pool, "name": name, "tokens": bucket.tokens, "at": bucket.at}
                for name, bucket in changed
            ],
        )
        if changed:
            _forget_buckets(self._connection, workspace=self._workspace, pool=self._pool, before=self._now - FULL_MICROSECONDS)
        waiting = [self._buckets[name].next_at() for name in self._names_shut() if self._buckets[name].tokens < 1.0]
        return min(waiting, default=None)

    def _names_shut(self) -> set[str]:
        return {name for pair in self.shut for name, limit in self._about(pair) if limit.per_second is not None and name in self._buckets}
