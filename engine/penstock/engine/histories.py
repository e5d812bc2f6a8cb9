"""The attempts of a run that has ended, with their times: what traces are made of. Read-only."""

from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.engine.core.plan import plan_of
from penstock.engine.statement import Statement

ATTEMPTS = 10_000
"""Of one run; the first ones of a longer run."""

_run = Statement(
    "SELECT u.run_id, u.name, u.workspace, u.pipeline, u.state, u.created_at, u.ended_at, s.bytes FROM run u "
    "JOIN spec s ON s.workspace = u.workspace AND s.digest = u.spec_digest WHERE u.run_no = :run_no AND u.ended_at IS NOT NULL"
)
_attempts = Statement(
    "SELECT node, item, number, state, pool, runner, made_at, started_at, ended_at FROM attempt "
    "WHERE run_no = :run_no ORDER BY node, item, number LIMIT :count"
)


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """Times are microseconds since 1970; None where it never came to that."""

    step: str
    node: int
    item: int
    number: int
    state: str
    pool: str
    runner: str
    made_at: int
    started_at: int | None
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run that has ended."""

    run_id: str
    name: str
    workspace: str
    pipeline: str
    state: str
    created_at: int
    ended_at: int
    attempts: tuple[PastAttempt, ...]


def past_run(connection: Connection, run_no: int) -> PastRun | None:
    """The run, if it has ended."""
    row = _run.first(connection, run_no=run_no)
    if row is None:
        return None
    nodes = plan_of(bytes(row[7])).nodes
    attempts = tuple(PastAttempt(nodes[int(row[0])].name, *row) for row in _attempts.rows(connection, run_no=run_no, count=ATTEMPTS))
    return PastRun(row[0], row[1], row[2], row[3], row[4], row[5], row[6], attempts)
