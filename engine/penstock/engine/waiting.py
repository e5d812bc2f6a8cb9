"""Why step runs that are ready do not start: what is missing. Read-only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from penstock.contracts.pools import PoolSpec
from penstock.engine.limits import Gate, Pair
from penstock.engine.orders import Orders
from penstock.engine.pools import pools_of
from penstock.engine.statement import Statement

Offers = Mapping[str, Sequence[int]]
"""By pool or lane, the slots of each runner of the workspace that takes orders of it."""
_of_run = Statement("SELECT node, pool, min(slots) FROM ready WHERE run_no = :run_no GROUP BY node, pool ORDER BY node, pool")
_first = Statement(
    "SELECT run_no, node, slots FROM ready WHERE workspace = :workspace AND pool = :pool ORDER BY urgency, fair, run_no, node, item LIMIT 1"
)
_taken = Statement("SELECT sum(slots) FROM attempt WHERE workspace = :workspace AND pool = :pool AND state IN ('dispatched', 'running')")


@dataclass(slots=True)
class Reasons:
    """Tells what is missing, by what runners offer and by the definitions of a workspace."""

    connection: Connection
    workspace: str
    offers: Offers
    now: int
    _pools: dict[str, PoolSpec] = field(init=False)
    _gates: dict[str, Gate] = field(default_factory=dict[str, Gate])
    _taken: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self._pools = pools_of(self.connection, self.workspace)

    def of_run(self, run_no: int) -> dict[int, str]:
        """By node."""
        rows = _of_run.rows(self.connection, run_no=run_no)
        return {node: self.reason(pool, (run_no, node), int(slots)) for node, pool, slots in rows}

    def of_pool(self, pool: str) -> str:
        """Of the one whose turn it is; nothing where none waits."""
        row = _first.first(self.connection, workspace=self.workspace, pool=pool)
        return "" if row is None else self.reason(pool, (row[0], row[1]), int(row[2]))

    def reason(self, pool: str, pair: Pair, slots: int) -> str:
        """Why a step run that takes so many slots of the pool does not start."""
        offers = self.offers.get(pool, ())
        definition = self._pools.get(pool)
        if definition is not None and definition.is_draining:
            return f"the pool {pool!r} is draining"
        if not any(offers):
            return f"nobody serves {pool!r} now" if "/" in pool else f"no runner of the pool {pool!r} is there"
        if slots > max(offers):
            return f"it needs {slots} slots of one runner; the largest of the pool {pool!r} has {max(offers)}"
        if definition is not None and not self._gate(definition).lets(pair):
            return f"a limit of the pool {pool!r} is reached: {self._gate(definition).reached(pair)}"
        free = sum(offers) - self._taken_of(pool)
        if free <= 0:
            return f"no slot of the pool {pool!r} is free"
        return f"it needs {slots} free slots of the pool {pool!r}" if slots > free else "it is about to start"

    def _gate(self, definition: PoolSpec) -> Gate:
        if definition.name not in self._gates:
            orders = Orders(b"")
            self._gates[definition.name] = Gate(
                self.connection,
                (self.workspace, definition.name),
                definition.limits,
                lambda run_no: orders.facts(self.connection, run_no),
                self.now,
            )
        return self._gates[definition.name]

    def _taken_of(self, pool: str) -> int:
        if pool not in self._taken:
            self._taken[pool] = _taken.number(self.connection, workspace=self.workspace, pool=pool)
        return self._taken[pool]
