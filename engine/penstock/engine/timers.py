"""Durable timers: rows that become facts when their time has come."""

from sqlalchemy import Connection

from penstock.contracts.messages import AttemptKey
from penstock.engine.core.rows import ANSWER, Key
from penstock.engine.core.wants import Fact, Fired, Stop
from penstock.engine.people.approval_rows import answer_to
from penstock.engine.statement import Statement

_due = Statement(
    "SELECT t.run_no, t.kind, t.node, t.item FROM timer t JOIN run u ON u.run_no = t.run_no AND same(u.owner, :owner) "
    "WHERE t.fire_at <= :now ORDER BY t.fire_at LIMIT 1000"
)
_is_due = Statement("SELECT 1 FROM timer WHERE run_no = :run_no AND kind = :kind AND node = :node AND item = :item AND fire_at <= :now")
_next = Statement("SELECT t.fire_at FROM timer t JOIN run u ON u.run_no = t.run_no AND same(u.owner, :owner) ORDER BY t.fire_at LIMIT 1")
_live = Statement(
    "SELECT a.run_no, a.node, a.item, a.number, a.state = 'running' OR s.state <> 'running' FROM attempt a "
    "JOIN step_run s ON s.run_no = a.run_no AND s.node = a.node AND s.item = a.item "
    "WHERE a.state IN ('dispatched', 'running') AND a.incarnation = coalesce(:incarnation, a.incarnation)"
)


def due(connection: Connection, now: int, owner: str | None) -> list[tuple[int, Fact]]:
    """The facts of all timers whose time has come, with their runs."""
    facts: list[tuple[int, Fact]] = []
    for run_no, kind, node, item in _due.rows(connection, now=now, owner=owner):
        facts.append((run_no, _fact(connection, run_no, kind, (node, item))))
    return facts


def _fact(connection: Connection, run_no: int, kind: str, place: Key) -> Fact:
    if kind in ("cancel", "leave"):
        return Stop("cancelled", "it was cancelled", leaves_hooks=kind == "leave")
    # Without an answer in the rows there is nothing to tell, and the timer is done.
    answer = answer_to(connection, run_no, place) if kind == ANSWER else None
    return Fired(kind, place) if answer is None else answer


def is_due(connection: Connection, run_no: int, fired: Fired, now: int) -> bool:
    """Whether the timer that fired is still there: two coordinators, and one that looks twice, see it fire twice."""
    node, item = fired.place
    return _is_due.first(connection, run_no=run_no, kind=fired.kind, node=node, item=item, now=now) is not None


def next_timer(connection: Connection, owner: str | None) -> int | None:
    """When the next timer of that owner's runs fires, in microseconds since 1970."""
    row = _next.first(connection, owner=owner)
    return row[0] if row is not None else None


def live_attempts(connection: Connection, incarnation: str | None) -> dict[AttemptKey, bool]:
    """Every attempt that is not closed, of that process if one is named, and whether it is lost if nobody holds it: else its order may
    still be on its way."""
    return {
        AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=number): bool(may_be_lost)
        for run_no, node, item, number, may_be_lost in _live.rows(connection, incarnation=incarnation)
    }
