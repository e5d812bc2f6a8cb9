"""Approvals: a step run that asks people waits for their answer in the rows, and holds nothing else.

What is written in an approval's row is the truth: where somebody answered in time and nobody heard of it yet, that answer counts.
"""

from penstock.contracts.artifacts import ArtifactRef, Value, inline
from penstock.contracts.errors import ContractError
from penstock.contracts.events import timestamp
from penstock.contracts.messages import Failure
from penstock.contracts.states import FailureKind, StepState
from penstock.contracts.targets import QUESTION, ApprovalTarget
from penstock.engine.core.resolve import is_plain
from penstock.engine.core.retry import MICROSECONDS
from penstock.engine.core.rows import ANSWER, EXPIRE, ApprovalRow, Key, StepRow, TimerRow, pack_values, unpack_values
from penstock.engine.core.slice import Slice, Steps
from penstock.engine.core.wants import Approvals, Decided, StepRuns

_NOTED = 500
"""Characters of a question that a timeline keeps."""


def ask(rows: Slice, row: StepRow, target: ApprovalTarget) -> None:
    """Asks, and waits for the answer.

    :raises ContractError: the question is no text.
    """
    inputs = unpack_values(row.inputs)
    question = _text(inputs.pop(QUESTION))
    until = None if target.timeout_seconds is None else rows.now + int(target.timeout_seconds * MICROSECONDS)
    rows.touch(row)
    row.state, row.started_at, row.reason = StepState.ASKING, rows.now, question
    asked = ApprovalRow(row.node, row.item, question, target.approvers, pack_values(inputs), asked_at=rows.now, expires_at=until)
    rows.approvals[row.place] = asked
    rows.changes.asked.append(asked)
    if until is not None:
        rows.changes.timers.append(TimerRow(EXPIRE, row.node, row.item, until))
    rows.note("approval.asked", row, question=question[:_NOTED], until=until)


def decided(rows: Slice, fact: Decided) -> Steps:
    """Somebody has answered."""
    rows.changes.timers_done.append((ANSWER, fact.place))
    yield StepRuns(rows.unknown([fact.place]))
    row = rows.steps.get(fact.place)
    if row is not None and row.state is StepState.ASKING:
        yield Approvals([fact.place])
        _close(rows, row, fact)


def expired(rows: Slice, place: Key) -> Steps:
    """The time to answer is over."""
    yield StepRuns(rows.unknown([place]))
    row = rows.steps.get(place)
    if row is None or row.state is not StepState.ASKING:
        return
    yield Approvals([place])
    asked = rows.approvals.get(place)
    if asked is not None and asked.state in ("approved", "rejected"):
        _close(rows, row, Decided(place, asked.state == "approved", asked.decided_by or "", asked.comment or ""))
        return
    target = rows.plan.step(row.node).run
    assert isinstance(target, ApprovalTarget)  # noqa: S101 - only such steps ask
    _record(rows, row, "expired", "", "")
    if target.on_timeout == "fail":
        rows.fail(row, Failure(kind=FailureKind.TIMEOUT, message="nobody answered in time"))
        return
    approved = target.on_timeout == "approve"
    _give(rows, row, approved, "", "nobody answered in time", f"{_verb(approved)}, since nobody answered in time")


def waiting_text(target: ApprovalTarget, since: int, question: str) -> str:
    """What an open approval waits for, for people."""
    whom = " or ".join(target.approvers) or "an operator"
    until = "" if target.timeout_seconds is None else f", until {_time(since + int(target.timeout_seconds * MICROSECONDS))}"
    return f"waits for approval by {whom} since {_time(since)}{until}: {question}"


def _close(rows: Slice, row: StepRow, fact: Decided) -> None:
    _record(rows, row, "approved" if fact.approved else "rejected", fact.by, fact.comment)
    by = f" by {fact.by}" if fact.by else ""
    said = f": {fact.comment}" if fact.comment else ""
    _give(rows, row, fact.approved, fact.by, fact.comment, f"{_verb(fact.approved)}{by}{said}")


def _record(rows: Slice, row: StepRow, state: str, by: str, comment: str) -> None:
    asked = rows.approvals.get(row.place)
    if asked is not None:
        asked.state, asked.decided_at, asked.decided_by, asked.comment = state, rows.now, by, comment
        rows.changes.answered.append(asked)
    rows.note(f"approval.{state}", row, None, by=by)


def _give(rows: Slice, row: StepRow, approved: bool, by: str, comment: str, reason: str) -> None:
    rows.touch(row)
    row.set_outputs({"result": inline({"approved": approved, "by": by, "comment": comment})})
    rows.end(row, StepState.SUCCEEDED, reason)


def _text(value: Value) -> str:
    text = value.json_value() if isinstance(value, ArtifactRef) and is_plain(value) else None
    if not isinstance(text, str):
        raise ContractError("the question of an approval is text; values in it must be small and plain (numbers, text, booleans)")
    return text


def _verb(approved: bool) -> str:
    return "approved" if approved else "rejected"


def _time(microseconds: int) -> str:
    return f"{timestamp(microseconds)[:16].replace('T', ' ')} UTC"
