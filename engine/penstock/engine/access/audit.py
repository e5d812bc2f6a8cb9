"""The audit log of a workspace: rows that are only ever added, numbered without gaps, each with a digest over itself and the one before."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.contracts.access_views import AuditEntry
from penstock.engine.access_tables import audit
from penstock.engine.locks import lock_name
from penstock.engine.statement import Statement

_last = Statement("SELECT audit_no, chain FROM audit WHERE workspace = :workspace ORDER BY audit_no DESC LIMIT 1")
_put = Statement.insert(audit)
_rows = Statement(
    'SELECT audit_no, "at", principal, action, subject, outcome, chain FROM audit WHERE workspace = :workspace AND audit_no < :before '
    "ORDER BY audit_no DESC LIMIT :most"
)
_TEXT_LIMIT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What somebody asked for."""

    principal: str
    action: str
    subject: str
    outcome: str


def record(connection: Connection, workspace: str, deed: Deed, now: int) -> int:
    """Adds it; its number."""
    lock_name(connection, "audit", workspace)
    row = _last.first(connection, workspace=workspace)
    number, before = (row[0] + 1, row[1]) if row is not None else (1, "")
    fields = {
        "audit_no": number, "at": now, "principal": deed.principal[:_TEXT_LIMIT], "action": deed.action[:128],
        "subject": deed.subject[:_TEXT_LIMIT], "outcome": deed.outcome,
    }  # fmt: skip
    _put(connection, workspace=workspace, chain=_link(before, workspace, fields), **fields)
    return int(number)


def entries(connection: Connection, workspace: str, before: int, most: int) -> list[AuditEntry]:
    """The newest first."""
    names = ("number", "at", "principal", "action", "subject", "outcome")
    rows = _rows.rows(connection, workspace=workspace, before=before, most=most)
    return [AuditEntry.model_validate(dict(zip(names, row[:6], strict=True))) for row in rows]


def first_wrong_entry(connection: Connection, workspace: str) -> int | None:
    """The number of the first entry that was changed after it was written, or that one is missing before; None: all is as it was."""
    before = ""
    rows = reversed(_rows.rows(connection, workspace=workspace, before=2**62, most=2**31))
    for expected, (number, at, principal, action, subject, outcome, chain) in enumerate(rows, 1):
        fields = {"audit_no": number, "at": at, "principal": principal, "action": action, "subject": subject, "outcome": outcome}
        if number != expected or chain != _link(before, workspace, fields):
            return expected
        before = chain
    return None


def _link(before: str, workspace: str, fields: Mapping[str, object]) -> str:
    text = json.dumps([before, workspace, *(fields[name] for name in sorted(fields))], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
