"""Orders: what a runner is told of an attempt, made from the rows of its run."""

import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.errors import ContractError
from penstock.contracts.messages import AttemptKey, Order
from penstock.contracts.spec import StepSpec
from penstock.engine.core.placement import Placement, Pools, memory_limit
from penstock.engine.core.plan import plan_of
from penstock.engine.core.rows import unpack_values
from penstock.engine.statement import Statement

_facts_of_run = Statement(
    "SELECT u.run_id, u.name, u.pipeline, u.cause, u.tags, u.options, u.workspace, s.bytes FROM run u "
    "JOIN spec s ON s.workspace = u.workspace AND s.digest = u.spec_digest WHERE u.run_no = :run_no"
)
_paths = Statement(
    "SELECT s.each_node, s.item, s.path FROM elements(:keys) k CROSS JOIN looked_up(s) fan_item s "
    "WHERE s.run_no = :run_no AND s.each_node = part_of(k, 0) AND s.item = part_of(k, 1) so_far(s)"
)

Paths = Mapping[tuple[int, int, int], tuple[int, ...]]
"""Index paths by run, node of the innermost fan-out, and item."""


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
    given_tags: dict[str, str]

    def step_name(self, node: int) -> str:
        return plan_of(self.spec_bytes).nodes[node].name


@dataclass(frozen=True, slots=True)
class Seat:
    """What an attempt is given: slots of a pool, and more memory after it ran out of it."""

    place: Placement
    memory_raises: int
    pools: Pools


@dataclass(slots=True)
class Orders:
    """Makes orders. What is the same for all orders of a run is kept."""

    key: bytes
    _runs: dict[int, RunFacts] = field(default_factory=dict[int, RunFacts])

    def token(self, workspace: str, attempt: AttemptKey) -> str:
        """The fence of an attempt: who holds it may report on that attempt and on nothing else."""
        text = f"{workspace}|{attempt.run_no}|{attempt.step_no}|{attempt.item_no}|{attempt.attempt_no}"
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()[:32]

    def order(self, connection: Connection, attempt: AttemptKey, seat: Seat, key: str | None, inputs: bytes | None, paths: Paths) -> Order:
        """The order of an attempt; the same whenever it is made again."""
        facts = self.facts(connection, attempt.run_no)
        plan = plan_of(facts.spec_bytes)
        node = plan.nodes[attempt.step_no]
        pool = seat.pools.get(seat.place.pool)
        return Order(
            workspace=facts.workspace,
            attempt=attempt,
            token=self.token(facts.workspace, attempt),
            run_id=facts.run_id,
            run_name=facts.name,
            pipeline=facts.pipeline,
            step_name=node.name,
            index=_index(attempt, node.chain, paths),
            pool=seat.place.pool,
            slots=seat.place.slots,
            slots_per_runner=pool.slots_per_runner if pool is not None else None,
            memory_bytes=memory_limit(seat.pools, seat.place, node.spec.resources, seat.memory_raises)
            if isinstance(node.spec, StepSpec)
            else None,
            step=node.step_bytes,
            snapshot=(node.spec.snapshot if isinstance(node.spec, StepSpec) else None) or plan.spec.snapshot,
            inputs=unpack_values(inputs),
            seed=key or "",
            cause=facts.cause,
            tags=facts.tags,
            must_claim=isinstance(node.spec, StepSpec) and not node.spec.idempotent,
        )

    def paths(self, connection: Connection, places: Iterable[tuple[int, int, int]]) -> Paths:
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
                row[0],
                row[1],
                row[2],
                json.loads(row[3]),
                json.loads(row[4]),
                options.get("max_parallel"),
                row[6],
                bytes(row[7]),
                options.get("given_tags", {}),
            )
        return self._runs[run_no]

    def clear(self) -> None:
        """What was learned may be of runs that there are not."""
        self._runs.clear()

    def forget(self, run_no: int) -> None:
        """The run has ended."""
        self._runs.pop(run_no, None)


def _index(attempt: AttemptKey, chain: tuple[int, ...], paths: Paths) -> tuple[int, ...]:
    if len(chain) <= 1:
        return (attempt.item_no,) if chain else ()
    return paths.get((attempt.run_no, chain[-1], attempt.item_no), ())
