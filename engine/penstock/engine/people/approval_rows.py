"""The rows of approvals, as deciding reads and writes them. An answer is in the row before any coordinator hears of it."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from penstock.engine import registry_tables, tables
from penstock.engine.core.rows import ANSWER, ApprovalRow, Key, RunRow
from penstock.engine.core.wants import Changes, Decided
from penstock.engine.statement import Statement

_COLUMNS = "s.node, s.item, s.question, s.approvers, s.evidence, s.state, s.asked_at, s.expires_at, s.decided_at, s.decided_by, s.comment"
_put = Statement.insert(
    registry_tables.approval,
    otherwise="ON CONFLICT (run_no, node, item) DO UPDATE SET question = excluded.question, approvers = excluded.approvers, "
    "evidence = excluded.evidence, state = excluded.state, asked_at = excluded.asked_at, expires_at = excluded.expires_at, "
    "decided_at = NULL, decided_by = NULL, comment = NULL",
)
_close = Statement(
    "UPDATE approval SET state = :state, decided_at = :now, decided_by = :by, comment = :comment "
    "WHERE run_no = :run_no AND node = :node AND item = :item AND state = 'open'"
)
_close_in_time = Statement(
    "UPDATE approval SET state = :state, decided_at = :now, decided_by = :by, comment = :comment "
    "WHERE run_no = :run_no AND node = :node AND item = :item AND state = 'open' AND (expires_at IS NULL OR expires_at > :now)"
)
_withdraw_all = Statement("UPDATE approval SET state = 'withdrawn', decided_at = :now WHERE run_no = :run_no AND state = 'open'")
_load = Statement(
    f"SELECT {_COLUMNS} FROM approval s WHERE s.run_no = :run_no AND s.node = :node AND s.item = :item locked(s)"  # noqa: S608 - constants
)
_answer = Statement("SELECT state, decided_by, comment FROM approval WHERE run_no = :run_no AND node = :node AND item = :item")
_put_timer = Statement.insert(tables.timer, otherwise="ON CONFLICT (run_no, kind, node, item) DO UPDATE SET fire_at = excluded.fire_at")


def load_approvals(connection: Connection, run_no: int, keys: Sequence[Key]) -> dict[Key, ApprovalRow]:
    """Those that there are; nobody else answers them before the transaction ends."""
    found = [_load.first(connection, run_no=run_no, node=node, item=item) for node, item in sorted(keys)]
    return {(row[0], row[1]): _row(row) for row in found if row is not None}


def _row(row: tuple[Any, ...]) -> ApprovalRow:
    return ApprovalRow(row[0], row[1], row[2], tuple(json.loads(row[3])), bytes(row[4]), *row[5:])


def write_approvals(connection: Connection, run: RunRow, changes: Changes, now: int) -> None:
    """What a decision asked, and what is asked no longer."""
    place = {"run_no": run.run_no}
    _put.many(
        connection,
        [
            {
                **place, "node": asked.node, "item": asked.item, "workspace": run.workspace, "question": asked.question,
                "approvers": json.dumps(asked.approvers), "evidence": asked.evidence, "state": "open", "asked_at": asked.asked_at,
                "expires_at": asked.expires_at, "decided_at": None, "decided_by": None, "comment": None,
            }
            for asked in changes.asked
        ],
    )  # fmt: skip
    closed = [(asked.node, asked.item, asked.state, asked.decided_by, asked.comment) for asked in changes.answered]
    closed += [(node, item, "withdrawn", None, None) for node, item in changes.withdrawn]
    _close.many(
        connection,
        [
            {**place, "node": node, "item": item, "state": state, "by": by, "comment": comment, "now": now}
            for node, item, state, by, comment in closed
        ],
    )


def withdraw_all(connection: Connection, run_no: int, now: int) -> None:
    """A run that stops asks nothing any more."""
    _withdraw_all(connection, run_no=run_no, now=now)


def answer_to(connection: Connection, run_no: int, place: Key) -> Decided | None:
    """What somebody answered."""
    row = _answer.first(connection, run_no=run_no, node=place[0], item=place[1])
    if row is None or row[0] not in ("approved", "rejected"):
        return None
    return Decided(place, row[0] == "approved", row[1] or "", row[2] or "")


def answered(connection: Connection, run_no: int, place: Key, answer: Decided, now: int) -> bool:
    """Writes an answer down and leaves word for whatever process drives the run; False where the approval is open no longer."""
    state = "approved" if answer.approved else "rejected"
    values = {"run_no": run_no, "node": place[0], "item": place[1]}
    if not _close_in_time(connection, **values, state=state, by=answer.by, comment=answer.comment, now=now):
        return False
    _put_timer(connection, **values, kind=ANSWER, fire_at=now)
    return True
