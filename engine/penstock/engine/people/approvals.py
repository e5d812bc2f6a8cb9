"""Approvals as people ask for them: what waits, and answers. An answer is rows; whatever process drives the run finds it there."""

import json
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.approvals import COMMENT_BYTES, ApprovalView, DecisionRequest
from penstock.contracts.errors import InvalidInput
from penstock.engine.core.plan import Plan
from penstock.engine.core.rows import Key, unpack_values
from penstock.engine.core.wants import Decided
from penstock.engine.people.approval_rows import answer_to, answered
from penstock.engine.queries import find_run, node_number, plan_of_run
from penstock.engine.statement import Statement

_COLUMNS = (
    "a.run_no, a.node, a.item, a.question, a.approvers, a.evidence, a.state, a.asked_at, a.expires_at, a.decided_at, a.decided_by, "
    "a.comment"
)
_open = Statement(
    f"SELECT {_COLUMNS}, u.run_id FROM approval a JOIN run u ON u.run_no = a.run_no WHERE a.workspace = :workspace AND a.state = 'open' "  # noqa: S608 - constants
    "AND (a.asked_at, a.run_no, a.node, a.item) > (:asked_at, :run_no, :node, :item) "
    "ORDER BY a.asked_at, a.run_no, a.node, a.item LIMIT :count"
)
_newest = Statement(
    f"SELECT {_COLUMNS}, u.run_id FROM approval a JOIN run u ON u.run_no = a.run_no WHERE a.workspace = :workspace "  # noqa: S608 - constants
    "AND (a.asked_at, a.run_no, a.node, a.item) < (:asked_at, :run_no, :node, :item) "
    "ORDER BY a.asked_at DESC, a.run_no DESC, a.node DESC, a.item DESC LIMIT :count"
)
_of_run = Statement(
    f"SELECT {_COLUMNS}, u.run_id FROM approval a JOIN run u ON u.run_no = a.run_no WHERE a.run_no = :run_no ORDER BY a.node, a.item"  # noqa: S608 - constants
)
_last_that_waits = Statement(
    "SELECT u.run_id FROM approval a JOIN run u ON u.run_no = a.run_no WHERE a.workspace = :workspace AND a.state = 'open' "
    "ORDER BY a.run_no DESC LIMIT 1"
)
_path = Statement("SELECT path FROM fan_item WHERE run_no = :run_no AND each_node = :each_node AND item = :item")
SHOWN = 1000
LAST = "last"


Place = tuple[int, int, int, int]
"""When it was asked, and by which step run."""


def approvals(connection: Connection, workspace: str, *, run: str | None = None, only_open: bool = True) -> list[ApprovalView]:
    """What people were asked, of one run if one is named: what is open, oldest first; or all, newest first.

    :raises InvalidInput: there is no such run.
    """
    if run is None:
        return [view for _, view in approvals_behind(connection, workspace, None, SHOWN, only_open=only_open)]
    rows = _of_run.rows(connection, run_no=find_run(connection, workspace, run)[0])
    return [_view(connection, workspace, row) for row in rows if row[6] == "open" or not only_open]


def approvals_behind(
    connection: Connection, workspace: str, behind: Place | None, count: int, *, only_open: bool
) -> list[tuple[Place, ApprovalView]]:
    """The same of all runs, from behind a place on; with the places."""
    statement, first = (_open, -1) if only_open else (_newest, 2**62)
    place = behind or (first, first, first, first)
    names = ("asked_at", "run_no", "node", "item")
    rows = statement.rows(connection, workspace=workspace, count=count, **dict(zip(names, place, strict=True)))
    return [((row[7], row[0], row[1], row[2]), _view(connection, workspace, row)) for row in rows]


def approval(connection: Connection, workspace: str, run: str, step: str | None = None, index: tuple[int, ...] = ()) -> ApprovalView:
    """The approval that is meant: of that step run; or the one that the run waits for. `last`: of the last run that waits for one.

    :raises InvalidInput: there is none, or several are open.
    """
    if run == LAST:
        waiting = _last_that_waits.first(connection, workspace=workspace)
        if waiting is None:
            raise InvalidInput("no run waits for an approval")
        run = waiting[0]
    row = find_run(connection, workspace, run)
    found = [(one, _view(connection, workspace, one)) for one in _of_run.rows(connection, run_no=row[0])]
    views = [view for _, view in found]
    if step is not None:
        node_number(plan_of_run(connection, row), step)
        views = [view for view in views if view.step == step and view.index[: len(index)] == index]
    chosen = views if len(views) == 1 else [view for view in views if view.state == "open"]
    if len(chosen) == 1:
        return chosen[0]
    asked = "/".join([step, *map(str, index)]) if step else "any approval"
    if not chosen:
        raise InvalidInput(f"the run {row[3]} does not wait for {asked}" + ("" if step else f" (it has {row[7]})"))
    names = ", ".join(view.address for view in chosen[:5])
    raise InvalidInput(f"the run {row[3]} waits for {len(chosen)} approvals; name one: {names}")


def decide(connection: Connection, workspace: str, view: ApprovalView, request: DecisionRequest, *, by: str, now: int) -> ApprovalView:
    """Answers an approval, and leaves word for whatever process drives its run. The same answer of the same person again changes nothing.

    :raises InvalidInput: it has another answer, or is open no longer.
    """
    if len(request.comment.encode()) > COMMENT_BYTES or not _is_clean(request.comment):
        raise InvalidInput(f"a comment is text that can be printed, of {COMMENT_BYTES} bytes at most")
    row = find_run(connection, workspace, view.run_id)
    place = _place(connection, row, view)
    answer = Decided(place, request.approved, by[:255], request.comment)
    if not answered(connection, row[0], place, answer, now) and answer_to(connection, row[0], place) != answer:
        raise InvalidInput(_too_late(approval(connection, workspace, view.run_id, view.step, view.index), now))
    return approval(connection, workspace, view.run_id, view.step, view.index)


def _is_clean(comment: str) -> bool:
    return all(character.isprintable() or character in "\n\t" for character in comment)


def _too_late(view: ApprovalView, now: int) -> str:
    what = f"{view.address} of {view.run_name}"
    if view.state in ("approved", "rejected"):
        return f"{what} was {view.state} by {view.decided_by or 'somebody'} already: {view.comment or 'without a comment'}"
    if view.state == "expired" or (view.expires_at is not None and view.expires_at <= now):
        return f"the time to answer {what} is over"
    return f"{what} is not asked any more: the run has ended, or does not need it"


def _place(connection: Connection, row: tuple[Any, ...], view: ApprovalView) -> Key:
    plan = plan_of_run(connection, row)
    number = node_number(plan, view.step)
    for one in _of_run.rows(connection, run_no=row[0]):
        if one[1] == number and _index(connection, plan, one) == view.index:
            return (number, int(one[2]))
    raise InvalidInput(f"the run {row[3]} does not ask {view.address}")


def _index(connection: Connection, plan: Plan, row: tuple[Any, ...]) -> tuple[int, ...]:
    chain = plan.nodes[int(row[1])].chain
    if not chain:
        return ()
    found = _path.first(connection, run_no=row[0], each_node=chain[-1], item=row[2])
    return (int(row[2]),) if found is None else tuple(json.loads(found[0]))


def _view(connection: Connection, workspace: str, row: tuple[Any, ...]) -> ApprovalView:
    run = find_run(connection, workspace, row[12])
    plan = plan_of_run(connection, run)
    return ApprovalView(
        run_id=run[1],
        run_name=run[3],
        pipeline=run[5],
        step=plan.nodes[int(row[1])].name,
        index=_index(connection, plan, row),
        question=row[3],
        approvers=tuple(json.loads(row[4])),
        evidence=unpack_values(row[5]),
        state=row[6],
        asked_at=row[7],
        expires_at=row[8],
        decided_at=row[9],
        decided_by=row[10],
        comment=row[11] or "",
    )
