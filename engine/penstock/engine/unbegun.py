"""Runs that were accepted and that no coordinator has begun: whoever accepted them rang, and nobody heard it."""

from sqlalchemy import Connection

from penstock.engine.statement import Statement

UNBEGUN_MICROSECONDS = 2_000_000
"""So long a coordinator has time to hear of a run."""
_AT_ONCE = 300
_unbegun = Statement(
    "SELECT run_no FROM run WHERE same(owner, :owner) AND ended_at IS NULL AND state = 'queued' AND created_at < :before "
    "ORDER BY run_no LIMIT :count"
)

_queued = Statement("SELECT 1 FROM run WHERE run_no = :run_no AND ended_at IS NULL AND state = 'queued'")


def is_unbegun(connection: Connection, run_no: int) -> bool:
    """Whether no coordinator has begun the run."""
    return _queued.first(connection, run_no=run_no) is not None


def unbegun(connection: Connection, owner: str | None, now: int) -> list[int]:
    """Those that wait for longer than a coordinator needs, the oldest first."""
    return [row[0] for row in _unbegun.rows(connection, owner=owner, before=now - UNBEGUN_MICROSECONDS, count=_AT_ONCE)]
