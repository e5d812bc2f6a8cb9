"""What waits and what is being executed, over all workspaces, and how runs ended: figures for whoever operates the services. Read-only."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.engine.pools import PoolKey
from penstock.engine.statement import Statement

_ready = Statement("SELECT workspace, pool, count(*), sum(slots) FROM ready GROUP BY workspace, pool")
_dispatched = Statement(
    "SELECT workspace, pool, state, count(*), sum(slots) FROM attempt "
    "WHERE state IN ('dispatched', 'running') GROUP BY workspace, pool, state"
)
_live_runs = Statement("SELECT workspace, state, count(*) FROM run WHERE ended_at IS NULL GROUP BY workspace, state")
_ended = Statement("SELECT workspace, state, ended_at FROM run WHERE run_no = :run_no AND ended_at IS NOT NULL")
_step_runs = Statement(
    "SELECT state, CASE WHEN hit_run IS NULL THEN 0 ELSE 1 END, count(*) FROM step_run WHERE run_no = :run_no GROUP BY 1, 2"
)

_beginnings = Statement(
    "SELECT started_at - made_at FROM attempt WHERE run_no = :run_no AND started_at IS NOT NULL ORDER BY node, item, number LIMIT :count"
)
_BEGINNINGS = 1000
"""Of one run: a sample."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """`ready`: step runs that wait for a slot. `dispatched`: attempts that are given out and not begun, as far as is known. By pool."""

    ready: dict[PoolKey, int]
    dispatched: dict[PoolKey, int]
    running: dict[PoolKey, int]
    demand: dict[PoolKey, int]
    """Slots that would be busy if there were enough: what autoscalers go by."""
    runs: dict[tuple[str, str], int]
    """Runs that have not ended, by workspace and state."""


@dataclass(frozen=True, slots=True)
class EndedRun:
    """How a run ended. `step_runs` counts by state and whether the cache had them; `beginnings` are microseconds from orders to starts."""

    workspace: str
    state: str
    ended_at: int
    step_runs: dict[tuple[str, bool], int]
    beginnings: list[int]


def backlog(connection: Connection) -> Backlog:
    """As it is now. Its cost grows with what waits, not with what was."""
    ready, live = _ready.rows(connection), _dispatched.rows(connection)
    demand: Counter[PoolKey] = Counter()
    for row in (*ready, *live):
        demand[row[0], row[1]] += int(row[-1])
    return Backlog(
        ready={(row[0], row[1]): int(row[2]) for row in ready},
        demand=dict(demand),
        dispatched={(row[0], row[1]): int(row[3]) for row in live if row[2] == "dispatched"},
        running={(row[0], row[1]): int(row[3]) for row in live if row[2] == "running"},
        runs={(row[0], row[1]): int(row[2]) for row in _live_runs.rows(connection)},
    )


def ended_run(connection: Connection, run_no: int) -> EndedRun | None:
    """How the run ended, if it has."""
    found = _ended.first(connection, run_no=run_no)
    if found is None:
        return None
    counts = {(row[0], bool(row[1])): int(row[2]) for row in _step_runs.rows(connection, run_no=run_no)}
    beginnings = [int(row[0]) for row in _beginnings.rows(connection, run_no=run_no, count=_BEGINNINGS)]
    return EndedRun(workspace=found[0], state=found[1], ended_at=int(found[2]), step_runs=counts, beginnings=beginnings)
