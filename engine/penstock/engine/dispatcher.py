"""The dispatcher: gives free slots to step runs that are ready, in order of priority and fair share.

It runs in a transaction of its own (on SQLite, at the end of the coordinator's). Limits hold on attempts that are dispatched and not
closed. The attempt row is the outbox: what was committed and not sent is sent again by anyone.
"""

import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.errors import ContractError
from penstock.contracts.messages import AttemptKey, Order
from penstock.contracts.spec import StepSpec
from penstock.engine import tables
from penstock.engine.core.plan import plan_of
from penstock.engine.core.rows import unpack_values
from penstock.engine.core.wants import Woken
from penstock.engine.flights import Place, take_flights
from penstock.engine.locks import lock_free_runs, lock_name
from penstock.engine.statement import Statement

SURPLUS = 8
"""Orders a slot at most beyond the one that it executes: what hides the way from a completion to the next order."""
_AHEAD_SECONDS = 0.1
"""So much work may wait behind a slot: what becomes ready later and has a higher priority waits as long."""
_SMOOTHING = 0.2
"""The share of the newest attempt in what attempts of a pool are expected to take."""

_count_live = Statement(
    "SELECT count(*) FROM attempt WHERE pool = :pool AND state IN ('dispatched', 'running') "
    "AND incarnation = coalesce(:incarnation, incarnation)"
)
# `scanned` keeps SQLite from going through all attempts of the run instead of the few that live.
_count_of_run = Statement("SELECT count(*) FROM attempt WHERE scanned(run_no) = :run_no AND state IN ('dispatched', 'running')")
_wanted = Statement(
    "SELECT text_of(p), w.workspace FROM elements(:pools) p CROSS JOIN "
    "(SELECT DISTINCT workspace FROM run WHERE ended_at IS NULL AND same(owner, :owner)) w "
    "WHERE EXISTS (SELECT 1 FROM ready r WHERE r.workspace = w.workspace AND r.pool = text_of(p))"
)
_IN_ORDER = "ORDER BY r.urgency, r.fair, r.run_no, r.node, r.item LIMIT :count"
_candidates = Statement(
    "SELECT DISTINCT c.run_no FROM (SELECT r.run_no FROM ready r JOIN run u ON u.run_no = r.run_no AND same(u.owner, :owner) "  # noqa: S608 - constants
    "WHERE r.workspace = :workspace AND r.pool = :pool AND r.run_no NOT IN (SELECT number_of(f) FROM elements(:full) f) "
    f"{_IN_ORDER}) c"
)
_take = Statement(
    "SELECT r.run_no, r.node, r.item, r.fair, s.key, s.inputs, s.attempts, c.made_at > r.since FROM ready r "  # noqa: S608 - constants
    "JOIN step_run s ON s.run_no = r.run_no AND s.node = r.node AND s.item = r.item "
    "LEFT JOIN cache_entry c ON c.workspace = r.workspace AND c.key = s.key "
    "WHERE r.workspace = :workspace AND r.pool = :pool AND r.run_no IN (SELECT number_of(t) FROM elements(:taken) t) "
    f"{_IN_ORDER}"
)
_facts_of_run = Statement(
    "SELECT u.run_id, u.name, u.pipeline, u.cause, u.tags, u.options, u.workspace, s.bytes FROM run u "
    "JOIN spec s ON s.workspace = u.workspace AND s.digest = u.spec_digest WHERE u.run_no = :run_no"
)
_paths = Statement(
    "SELECT s.each_node, s.item, s.path FROM elements(:keys) k CROSS JOIN fan_item s "
    "WHERE s.run_no = :run_no AND s.each_node = part_of(k, 0) AND s.item = part_of(k, 1)"
)
_park = Statement("UPDATE step_run SET state = 'parked' WHERE run_no = :run_no AND node = :node AND item = :item")
_run_step = Statement(
    "UPDATE step_run SET state = 'running', attempts = attempts + 1, started_at = coalesce(started_at, :now) "
    "WHERE run_no = :run_no AND node = :node AND item = :item"
)
_unready = Statement("DELETE FROM ready WHERE run_no = :run_no AND node = :node AND item = :item")
_insert_attempt = Statement.insert(tables.attempt)
_put_clock = Statement.insert(tables.fair_share, otherwise="ON CONFLICT (workspace, pool, run_no) DO UPDATE SET tag = excluded.tag")
# On an attempt that somebody writes just now, somebody has reported: its order was seen.
_mark_sent = Statement(
    "UPDATE attempt SET sent_at = :now WHERE (run_no, node, item, number) IN ("
    "SELECT a.run_no, a.node, a.item, a.number FROM elements(:keys) k CROSS JOIN attempt a WHERE a.run_no = part_of(k, 0) "
    "AND a.node = part_of(k, 1) AND a.item = part_of(k, 2) AND a.number = part_of(k, 3) locked_if_free(a))"
)
_unsent = Statement(
    "SELECT a.run_no, a.node, a.item, a.number, s.key, s.inputs, a.pool, a.sent_at FROM attempt a "
    "JOIN step_run s ON s.run_no = a.run_no AND s.node = a.node AND s.item = a.item "
    "WHERE a.state IN ('dispatched', 'running') AND a.state = 'dispatched' AND s.state = 'running' "
    "AND a.incarnation = coalesce(:incarnation, a.incarnation) "
    "AND ((a.sent_at IS NULL AND a.made_at < :unsent_before) OR a.sent_at < :unseen_before) LIMIT 1000"
)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What orders of a run have in common."""

    run_id: str
    name: str
    pipeline: str
    cause: dict[str, Any]
    tags: dict[str, str]
    max_parallel: int | None
    workspace: str
    spec_bytes: bytes


@dataclass(slots=True)
class Dispatcher:
    """Makes orders. `owner` and `incarnation` name the embedded process whose runs and slots these are; None and empty: everybody's."""

    key: bytes
    owner: str | None = None
    incarnation: str = ""
    _runs: dict[int, RunFacts] = field(default_factory=dict[int, RunFacts])
    _seconds: dict[str, float] = field(default_factory=dict[str, float])
    """What attempts took lately, by pool."""
    _overtaken: list[tuple[int, Woken]] = field(default_factory=list[tuple[int, Woken]])
    _broken: dict[int, str] = field(default_factory=dict[int, str])
    """Runs whose orders can't be made, and why."""
    _has_passed_over: bool = False

    def token(self, workspace: str, attempt: AttemptKey) -> str:
        """The fence of an attempt: who holds it may report on that attempt and on nothing else."""
        text = f"{workspace}|{attempt.run_no}|{attempt.step_no}|{attempt.item_no}|{attempt.attempt_no}"
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()[:32]

    def learn(self, pools: Iterable[str], seconds: float) -> None:
        """An attempt in one of these pools took so long."""
        for pool in pools:
            self._seconds[pool] = seconds + (1 - _SMOOTHING) * (self._seconds.get(pool, seconds) - seconds)

    def _surplus(self, pool: str) -> int:
        """Many where steps are short; none where they are long, or where nothing is known yet."""
        seconds = self._seconds.get(pool, _AHEAD_SECONDS * 2)
        return SURPLUS if seconds * SURPLUS <= _AHEAD_SECONDS else int(_AHEAD_SECONDS / seconds)

    def dispatch(self, connection: Connection, slots: Mapping[str, int], now: int) -> list[Order]:
        """Orders for as many ready step runs as the pools have room for. `slots` is by pool.

        It never waits for a run that somebody decides: such a run's step runs are left, and `take_passed_over` says so.
        """
        orders: list[Order] = []
        pools = sorted(pool for pool, count in slots.items() if count)
        wanted = _wanted.rows(connection, pools=json.dumps(pools), owner=self.owner) if pools else []
        for pool, found in groupby(sorted(wanted), key=itemgetter(0)):
            lock_name(connection, "slots of", pool)
            live = _count_live.number(connection, pool=pool, incarnation=self.incarnation or None)
            room = slots[pool] * (1 + self._surplus(pool)) - live
            for _, workspace in found:
                made = self._fill(connection, workspace, pool, room, now)
                orders += made
                room -= len(made)
        return orders

    def _fill(self, connection: Connection, workspace: str, pool: str, room: int, now: int) -> list[Order]:
        orders: list[Order] = []
        full = set(self._broken)
        while len(orders) < room:
            count = room - len(orders)
            rows = _candidates.rows(
                connection, owner=self.owner, workspace=workspace, pool=pool, full=json.dumps(sorted(full)), count=count
            )
            runs = {row[0] for row in rows}
            free = lock_free_runs(connection, runs)
            self._has_passed_over = self._has_passed_over or free != runs
            full |= runs - free
            if not runs:
                break
            if not free:
                continue
            seen, made = self._take(connection, workspace, pool, count, free, full, now)
            orders += made
            if seen < count and free == runs:
                break
        return orders

    def take_passed_over(self) -> bool:
        """Whether something was left because somebody else was at its run, or at its cache key; told once."""
        passed_over, self._has_passed_over = self._has_passed_over, False
        return passed_over

    def take_overtaken(self) -> list[tuple[int, Woken]]:
        """Those who waited for a slot while somebody else made the same, with their runs: they look the cache up again."""
        overtaken, self._overtaken = self._overtaken, []
        return overtaken

    def _take(
        self, connection: Connection, workspace: str, pool: str, count: int, runs: set[int], full: set[int], now: int
    ) -> tuple[int, list[Order]]:
        """How many ready step runs of these runs were looked at, `count` at most, and orders for those that may be executed.

        Runs of which no more may be ordered are added to `full`.
        """
        rows = _take.rows(connection, workspace=workspace, pool=pool, taken=json.dumps(sorted(runs)), count=count)
        parked = [(run_no, node, item) for run_no, node, item, *_, was_made_since in rows if was_made_since]
        self._overtaken += [(run_no, Woken((node, item))) for run_no, node, item in parked]
        paths = self._paths(connection, [(row[0], row[1], row[2]) for row in rows])
        possible: list[tuple[Order, str | None]] = []
        counts: dict[int, int] = {}
        for run_no, node, item, _fair, key, inputs, attempts, was_made_since in rows:
            if was_made_since or run_no in full:
                continue
            attempt = AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=attempts + 1)
            order = self._order_if_any(connection, attempt, pool, key, inputs, paths)
            if order is None or not self._may_more(connection, run_no, counts):
                full.add(run_no)
                continue
            possible.append((order, key if self._is_shared(connection, attempt) else None))
        flights = take_flights(connection, workspace, ((key, _place(order)) for order, key in possible if key is not None))
        orders: list[Order] = []
        for order, key in possible:
            if key is None or flights.has(key, _place(order)):
                orders.append(order)
            elif flights.is_taken(key):
                parked.append(_place(order))
            else:
                full.add(order.attempt.run_no)
                self._has_passed_over = True
        self._write(connection, orders, [{"run_no": run, "node": node, "item": item} for run, node, item in parked], now)
        if rows:
            _put_clock(connection, workspace=workspace, pool=pool, run_no=0, tag=max(row[3] for row in rows))
        else:
            full |= runs
        return len(rows), orders

    def _may_more(self, connection: Connection, run_no: int, counts: dict[int, int]) -> bool:
        """Whether one more step run of that run may be executed; it is counted."""
        most = self.facts(connection, run_no).max_parallel
        if most is None:
            return True
        if run_no not in counts:
            counts[run_no] = _count_of_run.number(connection, run_no=run_no)
        counts[run_no] += 1
        return counts[run_no] <= most

    def _is_shared(self, connection: Connection, attempt: AttemptKey) -> bool:
        """Whether others with the same cache key wait for this one instead of being executed."""
        spec = plan_of(self.facts(connection, attempt.run_no).spec_bytes).nodes[attempt.step_no].spec
        return isinstance(spec, StepSpec) and spec.cache

    def _write(self, connection: Connection, orders: list[Order], parked: list[dict[str, int]], now: int) -> None:
        keys = [order.attempt for order in orders]
        places = [{"run_no": key.run_no, "node": key.step_no, "item": key.item_no, "now": now} for key in keys]
        _park.many(connection, parked)
        _unready.many(connection, [*places, *parked])
        _run_step.many(connection, places)
        _insert_attempt.many(
            connection,
            [
                {
                    **place, "number": order.attempt.attempt_no, "state": "dispatched", "pool": order.pool, "incarnation": self.incarnation,
                    "runner": "", "made_at": now, "sent_at": None, "started_at": None, "ended_at": None, "failure": None, "log": None,
                    "seconds": 0.0, "cpu_seconds": 0.0, "peak_memory": 0,
                }
                for place, order in zip(places, orders, strict=True)
            ],
        )  # fmt: skip

    def _order_if_any(
        self, connection: Connection, attempt: AttemptKey, pool: str, key: str | None, inputs: bytes | None, paths: "Paths"
    ) -> Order | None:
        """None where the run's rows make no order: the run is broken then, and the others go on."""
        try:
            return self.order(connection, attempt, pool, key, inputs, paths)
        except (ContractError, ValueError, LookupError, TypeError) as error:
            self._broken[attempt.run_no] = f"no order can be made: {error!r}"
            return None

    def take_broken(self) -> list[tuple[int, str]]:
        """The runs whose orders can't be made, and why; told once."""
        return [self._broken.popitem() for _ in range(len(self._broken))]

    def order(self, connection: Connection, attempt: AttemptKey, pool: str, key: str | None, inputs: bytes | None, paths: "Paths") -> Order:
        """The order of an attempt; the same whenever it is made again."""
        facts = self.facts(connection, attempt.run_no)
        plan = plan_of(facts.spec_bytes)
        node = plan.nodes[attempt.step_no]
        return Order(
            workspace=facts.workspace,
            attempt=attempt,
            token=self.token(facts.workspace, attempt),
            run_id=facts.run_id,
            run_name=facts.name,
            pipeline=facts.pipeline,
            step_name=node.name,
            index=_index(attempt, node.chain, paths),
            pool=pool,
            step=node.step_bytes,
            snapshot=plan.spec.snapshot,
            inputs=unpack_values(inputs),
            seed=key or "",
            cause=facts.cause,
            tags=facts.tags,
            must_claim=isinstance(node.spec, StepSpec) and not node.spec.idempotent,
        )

    def _paths(self, connection: Connection, places: Iterable[tuple[int, int, int]]) -> "Paths":
        """The index paths of step runs in nested fan-outs."""
        wanted: dict[int, set[tuple[int, int]]] = defaultdict(set)
        for run_no, node, item in places:
            try:
                chain = plan_of(self.facts(connection, run_no).spec_bytes).nodes[node].chain
            except (ContractError, ValueError, LookupError, TypeError):
                continue
            if len(chain) > 1:
                wanted[run_no].add((chain[-1], item))
        return {
            (run_no, each, item): tuple(json.loads(path))
            for run_no, keys in wanted.items()
            for each, item, path in _paths.rows(connection, run_no=run_no, keys=json.dumps(sorted(keys)))
        }

    def facts(self, connection: Connection, run_no: int) -> RunFacts:
        """What is the same for all orders of a run; kept, since it never changes."""
        if run_no not in self._runs:
            row = _facts_of_run.first(connection, run_no=run_no)
            if row is None:
                raise LookupError(f"there is no run number {run_no}")
            options = json.loads(row[5])
            self._runs[run_no] = RunFacts(
                row[0], row[1], row[2], json.loads(row[3]), json.loads(row[4]), options.get("max_parallel"), row[6], bytes(row[7])
            )
        return self._runs[run_no]

    def roll_back(self) -> None:
        """A transaction came to nothing: what was learned in it may be of runs that there are not, and whose numbers others get."""
        self._runs.clear()
        self._overtaken.clear()
        self._broken.clear()
        self._has_passed_over = False

    def forget(self, run_no: int) -> None:
        """The run has ended."""
        self._runs.pop(run_no, None)

    def mark_sent(self, connection: Connection, attempts: list[AttemptKey], now: int) -> None:
        """These orders are on the bus."""
        if attempts:
            keys = [(a.run_no, a.step_no, a.item_no, a.attempt_no) for a in attempts]
            _mark_sent(connection, keys=json.dumps(keys), now=now)

    def unsent(self, connection: Connection, unsent_before: int, unseen_before: int) -> list[tuple[Order, bool]]:
        """Orders that were committed before the one time and not sent, or last sent before the other; and whether they were sent."""
        rows = _unsent.rows(connection, incarnation=self.incarnation or None, unsent_before=unsent_before, unseen_before=unseen_before)
        found: list[tuple[Order, bool]] = []
        paths = self._paths(connection, [(row[0], row[1], row[2]) for row in rows])
        for run_no, node, item, number, key, inputs, pool, sent_at in rows:
            attempt = AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=number)
            order = self._order_if_any(connection, attempt, pool, key, inputs, paths)
            if order is not None:
                found.append((order, sent_at is not None))
        return found


Paths = Mapping[tuple[int, int, int], tuple[int, ...]]
"""Index paths by run, node of the innermost fan-out, and item."""


def _index(attempt: AttemptKey, chain: tuple[int, ...], paths: Paths) -> tuple[int, ...]:
    if len(chain) <= 1:
        return (attempt.item_no,) if chain else ()
    return paths.get((attempt.run_no, chain[-1], attempt.item_no), ())


def _place(order: Order) -> Place:
    return (order.attempt.run_no, order.attempt.step_no, order.attempt.item_no)
