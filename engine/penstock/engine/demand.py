"""Demand: how much work waits for each pool and how much of it is being executed, counted from the rows. Read-only."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from penstock.contracts.fleet_views import PoolView
from penstock.engine.statement import Statement

_waiting = Statement("SELECT pool, count(*), min(since) FROM ready WHERE workspace = :workspace GROUP BY pool")
_executing = Statement(
    "SELECT a.pool, count(*) FROM attempt a JOIN run u ON u.run_no = a.run_no "
    "WHERE a.state IN ('dispatched', 'running') AND u.workspace = :workspace GROUP BY a.pool"
)
_live_runs = Statement("SELECT state, count(*) FROM run WHERE workspace = :workspace AND ended_at IS NULL GROUP BY state")


def pool_views(connection: Connection, workspace: str, slots: Mapping[str, Sequence[int]], now: int) -> tuple[PoolView, ...]:
    """Every pool that runners offer or that work waits for, by name. `slots`: those of each runner, by pool."""
    waiting = {row[0]: (int(row[1]), int(row[2])) for row in _waiting.rows(connection, workspace=workspace)}
    executing = {row[0]: int(row[1]) for row in _executing.rows(connection, workspace=workspace)}
    return tuple(
        PoolView(
            name=name,
            slots=sum(slots.get(name, ())),
            runners=len(slots.get(name, ())),
            waiting=waiting[name][0] if name in waiting else 0,
            executing=executing.get(name, 0),
            oldest_wait_seconds=max(0, now - waiting[name][1]) / 1_000_000 if name in waiting else None,
        )
        for name in sorted({*slots, *waiting, *executing})
    )


def live_run_counts(connection: Connection, workspace: str) -> dict[str, int]:
    """Runs that have not ended, by state."""
    return {row[0]: int(row[1]) for row in _live_runs.rows(connection, workspace=workspace)}
