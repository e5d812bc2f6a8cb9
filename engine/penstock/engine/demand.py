"""Demand: how much work waits for each pool and how much of it is being executed, counted from the rows. Read-only."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from penstock.contracts.fleet_views import PoolView
from penstock.engine.pools import pools_of
from penstock.engine.statement import Statement
from penstock.engine.waiting import Reasons

_waiting = Statement("SELECT pool, count(*), min(since), sum(slots) FROM ready WHERE workspace = :workspace GROUP BY pool")
_executing = Statement(
    "SELECT pool, count(*), sum(slots) FROM attempt WHERE workspace = :workspace AND state IN ('dispatched', 'running') GROUP BY pool"
)
_live_runs = Statement("SELECT state, count(*) FROM run WHERE workspace = :workspace AND ended_at IS NULL GROUP BY state")


def pool_views(connection: Connection, workspace: str, slots: Mapping[str, Sequence[int]], now: int) -> tuple[PoolView, ...]:
    """Every pool that is defined, that runners offer or that work waits for, by name. `slots`: those of each runner of the
    workspace, by pool."""
    waiting = {row[0]: row for row in _waiting.rows(connection, workspace=workspace)}
    executing = {row[0]: row for row in _executing.rows(connection, workspace=workspace)}
    definitions = pools_of(connection, workspace)
    reasons = Reasons(connection, workspace, slots, now)
    views: list[PoolView] = []
    for name in sorted({*slots, *waiting, *executing, *definitions}):
        _, steps, since, needed = waiting.get(name, (name, 0, None, 0))
        _, attempts, taken = executing.get(name, (name, 0, 0))
        views.append(
            PoolView(
                name=name,
                slots=sum(slots.get(name, ())),
                runners=len(slots.get(name, ())),
                waiting=int(steps),
                waiting_slots=int(needed),
                executing=int(attempts),
                executing_slots=int(taken),
                oldest_wait_seconds=max(0, now - int(since)) / 1_000_000 if since is not None else None,
                why=reasons.of_pool(name) if steps else "",
                definition=definitions.get(name),
            )
        )
    return tuple(views)


def live_run_counts(connection: Connection, workspace: str) -> dict[str, int]:
    """Runs that have not ended, by state."""
    return {row[0]: int(row[1]) for row in _live_runs.rows(connection, workspace=workspace)}
