"""Rows of lanes: which lanes hold work, moving ready step runs to where they belong, attempts that nobody in a lane has begun."""

from collections.abc import Collection, Iterable

import structlog
from sqlalchemy import Connection

from penstock.contracts.errors import ContractError
from penstock.contracts.messages import AttemptKey
from penstock.contracts.spec import StepSpec
from penstock.engine import tables
from penstock.engine.core.lanes import LaneKey, Lanes, lane_if_served, pool_of
from penstock.engine.core.rows import RunRow
from penstock.engine.core.wants import Lost
from penstock.engine.pools import count_slots
from penstock.engine.slice_reader import load_plan, lock_and_load_runs
from penstock.engine.statement import Statement

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.lanes")

# From one name to the next along the index, however many rows there are of each.
_with_ready = Statement(
    "WITH RECURSIVE named(workspace, pool) AS ("
    "SELECT w.workspace, (SELECT min(r.pool) FROM ready r WHERE r.workspace = w.workspace) "
    "FROM (SELECT DISTINCT workspace FROM run WHERE ended_at IS NULL) w UNION ALL "
    "SELECT n.workspace, (SELECT min(r.pool) FROM ready r WHERE r.workspace = n.workspace AND r.pool > n.pool) "
    "FROM named n WHERE n.pool IS NOT NULL) "
    "SELECT workspace, pool FROM named WHERE replace(pool, '/', '') <> pool"
)
_with_attempts = Statement(
    "SELECT DISTINCT workspace, pool FROM attempt "
    "WHERE state IN ('dispatched', 'running') AND state = 'dispatched' AND replace(pool, '/', '') <> pool"
)
_runs_in_lane = Statement("SELECT DISTINCT run_no FROM ready WHERE workspace = :workspace AND pool = :pool")
_waiting_runs = Statement(
    "SELECT u.run_no FROM run u WHERE u.ended_at IS NULL AND u.workspace = :workspace AND u.pipeline = :pipeline "
    "AND EXISTS (SELECT 1 FROM ready r WHERE r.run_no = u.run_no)"
)
_groups = Statement("SELECT node, pool, min(fair), max(fair) FROM ready WHERE run_no = :run_no GROUP BY node, pool ORDER BY node, pool")
_load_share = Statement("SELECT max(tag) FROM fair_share WHERE workspace = :workspace AND pool = :pool AND run_no IN (0, :run_no)")
_put_share = Statement.insert(tables.fair_share, otherwise="ON CONFLICT (workspace, pool, run_no) DO UPDATE SET tag = excluded.tag")
_move = Statement("UPDATE ready SET pool = :pool, fair = fair + :shift WHERE run_no = :run_no AND node = :node AND pool = :before")
_not_begun = Statement(
    "SELECT run_no, node, item, number FROM attempt "
    "WHERE state IN ('dispatched', 'running') AND state = 'dispatched' AND workspace = :workspace AND pool = :pool"
)


def lanes_in_use(connection: Connection) -> set[LaneKey]:
    """The lanes in which step runs wait or attempts have not begun, whether anybody serves them or not."""
    return {(row[0], row[1]) for row in (*_with_ready.rows(connection), *_with_attempts.rows(connection))}


def runs_waiting_in(connection: Connection, lane: LaneKey) -> set[int]:
    """The runs of which step runs wait in the lane."""
    return {row[0] for row in _runs_in_lane.rows(connection, workspace=lane[0], pool=lane[1])}


def runs_waiting_for(connection: Connection, lane: LaneKey) -> set[int]:
    """The runs of the lane's pipeline of which step runs wait, wherever they do."""
    pipeline = lane[1].partition("/")[0]
    return {row[0] for row in _waiting_runs.rows(connection, workspace=lane[0], pipeline=pipeline)}


def settle(connection: Connection, runs: Iterable[int], lanes: Lanes) -> int:
    """Has ready step runs of these runs wait where new ones would: in lanes that are served, else in pools. How many groups were moved."""
    return sum(_settle(connection, run, lanes) for run in lock_and_load_runs(connection, runs).values())


def _settle(connection: Connection, run: RunRow, lanes: Lanes) -> int:
    try:
        plan = load_plan(connection, run)
    except (ContractError, ValueError, LookupError, TypeError) as error:
        # Whoever decides the run says so, and puts it aside.
        log.warning("lane.not_settled", run_no=run.run_no, reason=repr(error))
        return 0
    moved = 0
    for node, pool, first, last in _groups.rows(connection, run_no=run.run_no):
        spec = plan.nodes[int(node)].spec
        if isinstance(spec, StepSpec):
            # A pool may have been chosen for more than the spec says: only what leaves a lane is given another.
            wanted = lane_if_served(run, spec, lanes) or (pool_of(run, spec) if "/" in pool else pool)
            if wanted != pool:
                _move_group(connection, run, (node, pool), wanted, (first, last))
                moved += 1
    return moved


def _move_group(connection: Connection, run: RunRow, group: tuple[int, str], pool: str, tags: tuple[int, int]) -> None:
    """They keep their order, and stand where others that become ready now would."""
    place = {"workspace": run.workspace, "pool": pool, "run_no": run.run_no}
    shift = _load_share.number(connection, **place) + 1 - tags[0]
    _move(connection, run_no=run.run_no, node=group[0], before=group[1], pool=pool, shift=shift)
    _put_share(connection, **place, tag=tags[1] + shift)
    count_slots(connection, run.workspace, pool, run.run_no)


def not_begun(connection: Connection, lane: LaneKey, held: Collection[AttemptKey]) -> list[tuple[int, Lost]]:
    """The attempts whose orders are in the lane's queue, as far as is known, and are executed by none of those who hold something."""
    found: list[tuple[int, Lost]] = []
    for run_no, node, item, number in _not_begun.rows(connection, workspace=lane[0], pool=lane[1]):
        if AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=number) not in held:
            # Somebody may begin it before this is decided.
            reason = "nobody serves its lane any more"
            found.append((run_no, Lost((node, item), number, counts=False, reason=reason, if_unbegun=True)))
    return found
