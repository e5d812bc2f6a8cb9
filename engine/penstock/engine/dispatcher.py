"""The dispatcher: gives free slots to step runs that are ready, in order of priority and fair share.

It runs in a transaction of its own (on SQLite, at the end of the coordinator's). Limits hold on attempts that are dispatched and not
closed. The attempt row is the outbox: what was committed and not sent is sent again by anyone.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.errors import ContractError
from penstock.contracts.messages import AttemptKey, Order
from penstock.contracts.spec import StepSpec
from penstock.engine import tables
from penstock.engine.core.plan import plan_of
from penstock.engine.core.rows import unpack_values
from penstock.engine.core.wants import Woken
from penstock.engine.statement import Statement

SURPLUS = 8
"""Orders a slot at most beyond the one that it executes: what hides the way from a completion to the next order."""
_AHEAD_SECONDS = 0.1
"""So much work may wait behind a slot: what becomes ready later and has a higher priority waits as long."""
_SMOOTHING = 0.2
"""The share of the newest attempt in what attempts of a pool are expected to take."""

_count_live = Statement(
    "SELECT count(*) FROM attempt WHERE pool = :pool AND state IN ('dispatched', 'running') AND incarnation = :incarnation"
)
# The plus keeps SQLite from going through all attempts of the run instead of the few that live.
_count_of_run = Statement("SELECT count(*) FROM attempt WHERE +run_no = :run_no AND state IN ('dispatched', 'running')")
_workspaces = Statement("SELECT DISTINCT workspace FROM run WHERE ended_at IS NULL AND owner IS :owner")
_take = Statement(
    "SELECT r.run_no, r.node, r.item, r.fair, s.key, s.inputs, s.attempts, c.made_at > r.since FROM ready r "
    "JOIN run u ON u.run_no = r.run_no AND u.owner IS :owner "
    "JOIN step_run s ON s.run_no = r.run_no AND s.node = r.node AND s.item = r.item "
    "LEFT JOIN cache_entry c ON c.workspace = r.workspace AND c.key = s.key "
    "WHERE r.workspace = :workspace AND r.pool = :pool AND r.run_no NOT IN (SELECT value FROM json_each(:full)) "
    "ORDER BY r.urgency, r.fair, r.run_no, r.node, r.item LIMIT :count"
)
_facts_of_run = Statement(
    "SELECT u.run_id, u.name, u.pipeline, u.cause, u.tags, u.options, u.workspace, s.bytes FROM run u "
    "JOIN spec s ON s.workspace = u.workspace AND s.digest = u.spec_digest WHERE u.run_no = :run_no"
)
_path = Statement("SELECT path FROM fan_item WHERE run_no = :run_no AND each_node = :each_node AND item = :item")
_take_flight = Statement.insert(tables.flight, otherwise="ON CONFLICT DO NOTHING")
_flight = Statement('SELECT run_no, node, item FROM flight WHERE workspace = :workspace AND "key" = :key')
_park = Statement("UPDATE step_run SET state = 'parked' WHERE run_no = :run_no AND node = :node AND item = :item")
_run_step = Statement(
    "UPDATE step_run SET state = 'running', attempts = attempts + 1, started_at = coalesce(started_at, :now) "
    "WHERE run_no = :run_no AND node = :node AND item = :item"
)
_unready = Statement("DELETE FROM ready WHERE run_no = :run_no AND node = :node AND item = :item")
_insert_attempt = Statement.insert(tables.attempt)
_put_clock = Statement.insert(tables.fair_share, otherwise="ON CONFLICT (workspace, pool, run_no) DO UPDATE SET tag = excluded.tag")
_mark_sent = Statement("UPDATE attempt SET sent_at = :now WHERE run_no = :run_no AND node = :node AND item = :item AND number = :number")
_unsent = Statement(
    "SELECT a.run_no, a.node, a.item, a.number, s.key, s.inputs, a.pool, a.sent_at FROM attempt a "
    "JOIN step_run s ON s.run_no = a.run_no AND s.node = a.node AND s.item = a.item "
    "WHERE a.state IN ('dispatched', 'running') AND a.state = 'dispatched' AND s.state = 'running' AND a.incarnation = :incarnation "
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
        """Orders for as many ready step runs as the pools have room for. `slots` is by pool."""
        orders: list[Order] = []
        workspaces = [row[0] for row in _workspaces.rows(connection, owner=self.owner)]
        for workspace, (pool, count) in product(workspaces, slots.items()):
            room = count * (1 + self._surplus(pool)) - _count_live.number(connection, pool=pool, incarnation=self.incarnation)
            full = set(self._broken)
            while room > 0:
                taken, made = self._take(connection, workspace, pool, room, full, now)
                orders += made
                room -= len(made)
                if taken == 0:
                    break
        return orders

    def take_overtaken(self) -> list[tuple[int, Woken]]:
        """Those who waited for a slot while somebody else made the same, with their runs: they look the cache up again."""
        overtaken, self._overtaken = self._overtaken, []
        return overtaken

    def _take(self, connection: Connection, workspace: str, pool: str, room: int, full: set[int], now: int) -> tuple[int, list[Order]]:
        rows = _take.rows(connection, owner=self.owner, workspace=workspace, pool=pool, full=json.dumps(sorted(full)), count=room)
        orders: list[Order] = []
        parked: list[dict[str, int]] = []
        passed_over = 0
        counts: dict[int, int] = {}
        for run_no, node, item, _fair, key, inputs, attempts, was_made_since in rows:
            place = {"run_no": run_no, "node": node, "item": item}
            if was_made_since:
                parked.append(place)
                self._overtaken.append((run_no, Woken((node, item))))
                continue
            attempt = AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=attempts + 1)
            order = None if run_no in full else self._order_if_any(connection, attempt, pool, key, inputs)
            if order is None:
                full.add(run_no)
                passed_over += 1
                continue
            facts = self.facts(connection, run_no)
            if facts.max_parallel is not None:
                counts.setdefault(run_no, _count_of_run.number(connection, run_no=run_no))
                if counts[run_no] >= facts.max_parallel:
                    full.add(run_no)
                    passed_over += 1
                    continue
                counts[run_no] += 1
            if not self._may_fly(connection, facts, key, place):
                parked.append(place)
                continue
            orders.append(order)
        self._write(connection, orders, parked, now)
        if rows:
            _put_clock(connection, workspace=workspace, pool=pool, run_no=0, tag=max(row[3] for row in rows))
        return len(rows) - (passed_over if passed_over < len(rows) else 0), orders

    def _may_fly(self, connection: Connection, facts: RunFacts, key: str | None, place: dict[str, int]) -> bool:
        """Whether no other step run with the same cache key is being executed."""
        spec = plan_of(facts.spec_bytes).nodes[place["node"]].spec
        if key is None or not isinstance(spec, StepSpec) or not spec.cache:
            return True
        if _take_flight(connection, workspace=facts.workspace, key=key, **place) > 0:
            return True
        return _flight.first(connection, workspace=facts.workspace, key=key) == (place["run_no"], place["node"], place["item"])

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

    def _order_if_any(self, connection: Connection, attempt: AttemptKey, pool: str, key: str | None, inputs: bytes | None) -> Order | None:
        """None where the run's rows make no order: the run is broken then, and the others go on."""
        try:
            return self.order(connection, attempt, pool, key, inputs)
        except (ContractError, ValueError, LookupError, TypeError) as error:
            self._broken[attempt.run_no] = f"no order can be made: {error!r}"
            return None

    def take_broken(self) -> list[tuple[int, str]]:
        """The runs whose orders can't be made, and why; told once."""
        return [self._broken.popitem() for _ in range(len(self._broken))]

    def order(self, connection: Connection, attempt: AttemptKey, pool: str, key: str | None, inputs: bytes | None) -> Order:
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
            index=self._index(connection, attempt, node.chain),
            pool=pool,
            step=node.step_bytes,
            snapshot=plan.spec.snapshot,
            inputs=unpack_values(inputs),
            seed=key or "",
            cause=facts.cause,
            tags=facts.tags,
            must_claim=isinstance(node.spec, StepSpec) and not node.spec.idempotent,
        )

    def _index(self, connection: Connection, attempt: AttemptKey, chain: tuple[int, ...]) -> tuple[int, ...]:
        if len(chain) <= 1:
            return (attempt.item_no,) if chain else ()
        row = _path.first(connection, run_no=attempt.run_no, each_node=chain[-1], item=attempt.item_no)
        return tuple(json.loads(row[0])) if row is not None else ()

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

    def forget(self, run_no: int) -> None:
        """The run has ended."""
        self._runs.pop(run_no, None)

    def mark_sent(self, connection: Connection, attempts: list[AttemptKey], now: int) -> None:
        """These orders are on the bus."""
        _mark_sent.many(
            connection, [{"run_no": a.run_no, "node": a.step_no, "item": a.item_no, "number": a.attempt_no, "now": now} for a in attempts]
        )

    def unsent(self, connection: Connection, unsent_before: int, unseen_before: int) -> list[tuple[Order, bool]]:
        """Orders that were committed before the one time and not sent, or last sent before the other; and whether they were sent."""
        rows = _unsent.rows(connection, incarnation=self.incarnation, unsent_before=unsent_before, unseen_before=unseen_before)
        found: list[tuple[Order, bool]] = []
        for run_no, node, item, number, key, inputs, pool, sent_at in rows:
            attempt = AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=number)
            order = self._order_if_any(connection, attempt, pool, key, inputs)
            if order is not None:
                found.append((order, sent_at is not None))
        return found
