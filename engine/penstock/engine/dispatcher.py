"""The dispatcher: gives free slots to step runs that are ready, in order of priority and fair share.

It runs at the end of the transaction that decides, or in one of its own. Limits hold on attempts that are dispatched and not
closed. The attempt row is the outbox: what was committed and not sent is sent again by anyone.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.errors import ContractError
from penstock.contracts.messages import AttemptKey, Order
from penstock.contracts.spec import StepSpec
from penstock.engine import tables
from penstock.engine.core.placement import Placement, Pools
from penstock.engine.core.plan import plan_of
from penstock.engine.core.rows import memory_raises_in
from penstock.engine.core.wants import Woken
from penstock.engine.flights import Place, take_flights
from penstock.engine.limits import Gate, Pair
from penstock.engine.locks import lock_free_name, lock_free_runs, lock_name
from penstock.engine.orders import Orders, Paths, Seat
from penstock.engine.pools import PoolKey, Slots, pools_of
from penstock.engine.statement import Statement

SURPLUS = 8
"""Orders a slot at most beyond the one that it executes: what hides the way from a completion to the next order."""
LOOKED_AT = 200
"""Step runs that are looked at together where some of them are at a limit."""
_AHEAD_SECONDS = 0.1
"""So much work may wait behind a slot: what becomes ready later and has a higher priority waits as long."""
_HURRY_MICROSECONDS = 1_000_000
"""So long after an order for which a slot was free, its report is not kept waiting."""
_SMOOTHING = 0.2
"""The share of the newest attempt in what attempts of a pool are expected to take."""

LONGEST_PAUSE_MICROSECONDS = 600_000_000
"""Orders that nobody takes, as no runner is there, are sent again in pauses that grow to so much: else their queue would."""

_count_live = Statement(
    "SELECT sum(slots) FROM attempt WHERE workspace = :workspace AND pool = :pool AND state IN ('dispatched', 'running') "
    "AND incarnation = coalesce(:incarnation, incarnation)"
)
# `scanned` keeps SQLite from going through all attempts of the run instead of the few that live.
_count_of_run = Statement("SELECT count(*) FROM attempt WHERE scanned(run_no) = :run_no AND state IN ('dispatched', 'running')")
_wanted = Statement(
    "SELECT w.workspace, text_part_of(p, 1) FROM elements(:pools) p CROSS JOIN "
    "(SELECT DISTINCT workspace FROM run WHERE ended_at IS NULL AND same(owner, :owner)) w "
    "WHERE w.workspace = text_part_of(p, 0) "
    "AND EXISTS (SELECT 1 FROM ready r WHERE r.workspace = w.workspace AND r.pool = text_part_of(p, 1))"
)
_IN_ORDER = "ORDER BY r.urgency, r.fair, r.run_no, r.node, r.item LIMIT :count"
# No runner has more slots than `largest`; `shut` are at a limit.
_POSSIBLE = (
    "r.workspace = :workspace AND r.pool = :pool AND r.slots <= :largest "
    "AND (r.run_no, r.node) NOT IN (SELECT part_of(x, 0), part_of(x, 1) FROM elements(:shut) x)"
)
_candidates = Statement(
    "SELECT DISTINCT c.run_no, c.node FROM (SELECT r.run_no, r.node FROM ready r "  # noqa: S608 - constants
    "JOIN run u ON u.run_no = r.run_no AND same(u.owner, :owner) "
    f"WHERE {_POSSIBLE} AND r.run_no NOT IN (SELECT number_of(f) FROM elements(:full) f) {_IN_ORDER}) c"
)
_take = Statement(
    "SELECT r.run_no, r.node, r.item, r.fair, r.slots, s.flags, s.key, s.inputs, s.attempts, "  # noqa: S608 - constants
    "(SELECT c.made_at FROM cache_entry c WHERE c.workspace = r.workspace AND c.key = s.key) > r.since "
    f"FROM (SELECT r.* FROM ready r WHERE {_POSSIBLE} AND listed(r.run_no, :taken) {_IN_ORDER}) r "
    "CROSS JOIN looked_up(s) step_run s WHERE s.run_no = r.run_no AND s.node = r.node AND s.item = r.item so_far(s) "
    "ORDER BY r.urgency, r.fair, r.run_no, r.node, r.item"
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
    "SELECT a.run_no, a.node, a.item, a.number FROM elements(:keys) k CROSS JOIN looked_up(a) attempt a WHERE a.run_no = part_of(k, 0) "
    "AND a.node = part_of(k, 1) AND a.item = part_of(k, 2) AND a.number = part_of(k, 3) so_far(a) locked_if_free(a))"
)
_unsent = Statement(
    "SELECT a.run_no, a.node, a.item, a.number, s.key, s.inputs, a.pool, a.slots, s.flags, a.sent_at FROM attempt a "  # noqa: S608 - constants
    "JOIN step_run s ON s.run_no = a.run_no AND s.node = a.node AND s.item = a.item "
    "WHERE a.state IN ('dispatched', 'running') AND a.state = 'dispatched' AND s.state = 'running' "
    "AND a.incarnation = coalesce(:incarnation, a.incarnation) "
    "AND ((a.sent_at IS NULL AND a.made_at < :unsent_before) OR (a.sent_at < :unseen_before "
    f"AND (a.sent_at - a.made_at <= 2 * (:unseen_before - a.sent_at) OR :unseen_before - a.sent_at > {LONGEST_PAUSE_MICROSECONDS}))) "
    "LIMIT 1000"
)


@dataclass(slots=True)
class Queue:
    """What waits for a pool of a workspace, and how much of it may be taken. `room`: slots. `largest`: slots of the largest runner."""

    workspace: str
    pool: str
    room: int
    largest: int
    pools: Pools
    gate: Gate
    full: set[int]
    """Runs of which no more may be ordered."""

    @property
    def shut(self) -> str:
        return json.dumps(sorted(self.gate.shut))

    @property
    def count(self) -> int:
        """How many are looked at together: where some are at a limit, also those behind them."""
        return max(self.room, LOOKED_AT) if self.gate.shut else self.room


@dataclass(slots=True)
class Dispatcher:
    """Makes orders. `owner` and `incarnation` name the embedded process whose runs and slots these are; None and empty: everybody's."""

    key: bytes
    owner: str | None = None
    incarnation: str = ""
    _orders: Orders = field(init=False)
    _seconds: dict[PoolKey, float] = field(default_factory=dict[PoolKey, float])
    """What attempts took lately, by pool of a workspace."""
    _overtaken: list[tuple[int, Woken]] = field(default_factory=list[tuple[int, Woken]])
    _broken: dict[int, str] = field(default_factory=dict[int, str])
    """Runs whose orders can't be made, and why."""
    _has_passed_over: bool = False
    _spare: dict[PoolKey, tuple[int, int]] = field(default_factory=dict[PoolKey, tuple[int, int]])
    """How many orders wait behind the slots of a pool, 0 if they are not half of what may, and when that was so."""
    _next_at: int | None = None
    """When a rate lets the next one through."""

    def __post_init__(self) -> None:
        self._orders = Orders(self.key)

    def token(self, workspace: str, attempt: AttemptKey) -> str:
        """The fence of an attempt: who holds it may report on that attempt and on nothing else."""
        return self._orders.token(workspace, attempt)

    def learn(self, pools: Iterable[PoolKey], seconds: float) -> None:
        """An attempt in one of these pools took so long."""
        for pool in pools:
            self._seconds[pool] = seconds + (1 - _SMOOTHING) * (self._seconds.get(pool, seconds) - seconds)

    def _surplus(self, pool: PoolKey) -> int:
        """Many where steps are short; none where they are long, or where nothing is known yet."""
        seconds = self._seconds.get(pool, _AHEAD_SECONDS * 2)
        return SURPLUS if seconds * SURPLUS <= _AHEAD_SECONDS else int(_AHEAD_SECONDS / seconds)

    def dispatch(self, connection: Connection, slots: Slots, now: int, *, waits: bool = True) -> list[Order]:
        """Orders for as many ready step runs as the pools have room for. What runners offer to one workspace is no room for another.

        It never waits for a run that somebody decides: such a run's step runs are left, and `take_passed_over` says so. The same
        holds for a pool to which somebody else dispatches, unless it `waits` for that.
        """
        orders: list[Order] = []
        pools = sorted(pool for pool, counts in slots.items() if any(counts))
        wanted = _wanted.rows(connection, pools=json.dumps(pools), owner=self.owner) if pools else []
        self._spare = {pool: (count, at) for pool, (count, at) in self._spare.items() if not count and at > now - _HURRY_MICROSECONDS}
        for workspace, pool in sorted(wanted):
            if waits:
                lock_name(connection, "slots of", workspace, pool)
            elif not lock_free_name(connection, "slots of", workspace, pool):
                self._has_passed_over = True
                continue
            place = (workspace, pool)
            live = _count_live.number(connection, workspace=workspace, pool=pool, incarnation=self.incarnation or None)
            room = sum(slots[place]) * (1 + self._surplus(place)) - live
            queue = self._queue(connection, place, room, max(slots[place]), now)
            orders += self._fill(connection, queue, now) if queue is not None else []
            room = queue.room if queue is not None else room
            most = sum(slots[place]) * self._surplus(place)
            self._spare[place] = (max(most - room, 0) if room <= most // 2 else 0, now)
        return orders

    @property
    def spare(self) -> int:
        """How many reports may come before a slot has nothing to do; 0 where the next one may bring something to an idle slot."""
        return min((count for count, _ in self._spare.values()), default=0)

    def _queue(self, connection: Connection, place: PoolKey, room: int, largest: int, now: int) -> Queue | None:
        """None where nothing may be taken of it."""
        workspace, pool = place
        pools = pools_of(connection, workspace)
        definition = pools.get(pool)
        if room <= 0 or (definition is not None and definition.is_draining):
            return None
        limits = definition.limits if definition is not None else ()
        gate = Gate(connection, place, limits, lambda run_no: self._orders.facts(connection, run_no), now)
        return Queue(workspace, pool, room, largest, pools, gate, set(self._broken))

    def _fill(self, connection: Connection, queue: Queue, now: int) -> list[Order]:
        orders: list[Order] = []
        full, gate = queue.full, queue.gate
        while queue.room > 0:
            count, changes = queue.count, gate.changes
            rows = _candidates.rows(
                connection,
                owner=self.owner,
                workspace=queue.workspace,
                pool=queue.pool,
                largest=queue.largest,
                shut=queue.shut,
                full=json.dumps(sorted(full)),
                count=count,
            )
            runs = {run_no for run_no, node in rows if gate.lets((run_no, node))}
            if not rows:
                break
            free = lock_free_runs(connection, runs)
            self._has_passed_over = self._has_passed_over or free != runs
            full |= runs - free
            if not free:
                continue
            seen, made = self._take(connection, queue, free, now)
            orders += made
            if seen < count and free == runs and gate.changes == changes:
                break
        self._expect(gate.save())
        return orders

    def _expect(self, at: int | None) -> None:
        if at is not None:
            self._next_at = at if self._next_at is None else min(at, self._next_at)

    def take_next_at(self) -> int | None:
        """When a rate lets through the next one of those that wait for it, if any do; told once."""
        at, self._next_at = self._next_at, None
        return at

    def take_passed_over(self) -> bool:
        """Whether something was left because somebody else was at its run, or at its cache key; told once."""
        passed_over, self._has_passed_over = self._has_passed_over, False
        return passed_over

    def take_overtaken(self) -> list[tuple[int, Woken]]:
        """Those who waited for a slot while somebody else made the same, with their runs: they look the cache up again."""
        overtaken, self._overtaken = self._overtaken, []
        return overtaken

    def _take(self, connection: Connection, queue: Queue, runs: set[int], now: int) -> tuple[int, list[Order]]:
        """How many ready step runs of these runs were looked at, and orders for those that may be executed.

        Runs of which no more may be ordered become full; what is at a limit is shut in the queue's gate.
        """
        taken = json.dumps(sorted(runs))
        rows = _take.rows(
            connection,
            workspace=queue.workspace,
            pool=queue.pool,
            largest=queue.largest,
            shut=queue.shut,
            taken=taken,
            count=queue.count,
        )
        parked = [(row[0], row[1], row[2]) for row in rows if row[-1]]
        self._overtaken += [(run_no, Woken((node, item))) for run_no, node, item in parked]
        possible, is_too_large = self._possible(connection, queue, rows)
        flights = take_flights(connection, queue.workspace, ((key, _place(order)) for order, key in possible if key is not None))
        orders: list[Order] = []
        for order, key in possible:
            if key is None or flights.has(key, _place(order)):
                orders.append(order)
                continue
            queue.room += order.slots
            queue.gate.take(_pair(order), -1)
            if flights.is_taken(key):
                parked.append(_place(order))
            else:
                queue.full.add(order.attempt.run_no)
                self._has_passed_over = True
        self._write(connection, orders, [{"run_no": run, "node": node, "item": item} for run, node, item in parked], now)
        if is_too_large and len(orders) == len(possible):
            # It is not overtaken, else it would never have its turn.
            queue.room = 0
        if rows:
            tag = max(row[3] for row in rows)
            _put_clock.many(connection, [{"workspace": queue.workspace, "pool": queue.pool, "run_no": 0, "tag": tag}])
        else:
            queue.full |= runs
        return len(rows), orders

    def _possible(self, connection: Connection, queue: Queue, rows: list[tuple[Any, ...]]) -> tuple[list[tuple[Order, str | None]], bool]:
        """Orders, with the cache keys that others wait for, as far as room, limits and runs let; and whether one was too large."""
        paths = self._orders.paths(connection, [(row[0], row[1], row[2]) for row in rows])
        possible: list[tuple[Order, str | None]] = []
        counts: dict[int, int] = {}
        for run_no, node, item, _fair, slots, flags, key, inputs, attempts, was_made_since in rows:
            if was_made_since or run_no in queue.full or not queue.gate.lets((run_no, node)):
                continue
            if slots > queue.room:
                return possible, True
            attempt = AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=attempts + 1)
            seat = Seat(Placement(queue.pool, slots), memory_raises_in(flags), queue.pools)
            order = self._order_if_any(connection, attempt, seat, key, inputs, paths)
            if order is None or not self._may_more(connection, run_no, counts):
                queue.full.add(run_no)
                continue
            queue.room -= slots
            queue.gate.take((run_no, node))
            possible.append((order, key if self._is_shared(connection, attempt) else None))
        return possible, False

    def _may_more(self, connection: Connection, run_no: int, counts: dict[int, int]) -> bool:
        """Whether one more step run of that run may be executed; it is counted."""
        most = self._orders.facts(connection, run_no).max_parallel
        if most is None:
            return True
        if run_no not in counts:
            counts[run_no] = _count_of_run.number(connection, run_no=run_no)
        counts[run_no] += 1
        return counts[run_no] <= most

    def _is_shared(self, connection: Connection, attempt: AttemptKey) -> bool:
        """Whether others with the same cache key wait for this one instead of being executed."""
        spec = plan_of(self._orders.facts(connection, attempt.run_no).spec_bytes).nodes[attempt.step_no].spec
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
                    **place, "number": order.attempt.attempt_no, "state": "dispatched", "workspace": order.workspace,
                    "pool": order.pool, "slots": order.slots, "incarnation": self.incarnation,
                    "runner": "", "made_at": now, "sent_at": None, "started_at": None, "ended_at": None, "failure": None, "log": None,
                    "seconds": 0.0, "cpu_seconds": 0.0, "peak_memory": 0,
                }
                for place, order in zip(places, orders, strict=True)
            ],
        )  # fmt: skip

    def _order_if_any(
        self, connection: Connection, attempt: AttemptKey, seat: Seat, key: str | None, inputs: bytes | None, paths: Paths
    ) -> Order | None:
        """None where the run's rows make no order: the run is broken then, and the others go on."""
        try:
            return self._orders.order(connection, attempt, seat, key, inputs, paths)
        except (ContractError, ValueError, LookupError, TypeError) as error:
            self._broken[attempt.run_no] = f"no order can be made: {error!r}"
            return None

    def take_broken(self) -> list[tuple[int, str]]:
        """The runs whose orders can't be made, and why; told once."""
        return [self._broken.popitem() for _ in range(len(self._broken))]

    def roll_back(self) -> None:
        """A transaction came to nothing: what was learned in it may be of runs that there are not, and whose numbers others get."""
        self._orders.clear()
        self._overtaken.clear()
        self._broken.clear()
        self._has_passed_over = False
        self._next_at = None

    def forget(self, run_no: int) -> None:
        """The run has ended."""
        self._orders.forget(run_no)

    def mark_sent(self, connection: Connection, attempts: list[AttemptKey], now: int) -> None:
        """These orders are on the bus."""
        if attempts:
            keys = [(a.run_no, a.step_no, a.item_no, a.attempt_no) for a in attempts]
            _mark_sent.many(connection, [{"keys": json.dumps(keys), "now": now}])

    def unsent(self, connection: Connection, unsent_before: int, unseen_before: int) -> list[tuple[Order, bool]]:
        """Orders that were committed before the one time and not sent, or last sent before the other; and whether they were sent.

        Each time an order was sent for nothing, half as much longer is waited until it is sent again.
        """
        rows = _unsent.rows(connection, incarnation=self.incarnation or None, unsent_before=unsent_before, unseen_before=unseen_before)
        found: list[tuple[Order, bool]] = []
        paths = self._orders.paths(connection, [(row[0], row[1], row[2]) for row in rows])
        for run_no, node, item, number, key, inputs, pool, slots, flags, sent_at in rows:
            attempt = AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=number)
            try:
                workspace = self._orders.facts(connection, run_no).workspace
            except (ContractError, ValueError, LookupError, TypeError) as error:
                self._broken[run_no] = f"no order can be made: {error!r}"
                continue
            seat = Seat(Placement(pool, slots), memory_raises_in(flags), pools_of(connection, workspace))
            order = self._order_if_any(connection, attempt, seat, key, inputs, paths)
            if order is not None:
                found.append((order, sent_at is not None))
        return found


def _pair(order: Order) -> Pair:
    return (order.attempt.run_no, order.attempt.step_no)


def _place(order: Order) -> Place:
    return (order.attempt.run_no, order.attempt.step_no, order.attempt.item_no)
