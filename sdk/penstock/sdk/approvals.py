"""Approvals: a run asks people, and goes on when they have answered. Meanwhile it holds no worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from penstock.contracts.errors import GraphError
from penstock.contracts.targets import QUESTION, ApprovalTarget
from penstock.sdk.drawing.drawing import needed_drawing
from penstock.sdk.drawing.handles import handles_in, source_of
from penstock.sdk.drawing.places import user_place
from penstock.sdk.drawing.undispatched import checked_target, draw_undispatched
from penstock.sdk.options import Duration, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What people answered to an `approval`. `by` is nobody's name where nobody answered in time."""

    approved: bool
    by: str = ""
    comment: str = ""


def approval(
    question: str,
    *,
    approvers: Sequence[str] = (),
    timeout: Duration | None = None,
    on_timeout: Literal["approve", "reject", "fail"] = "reject",
    evidence: Sequence[object] = (),
    name: str = "approval",
) -> Decision:
    """Asks people before the run goes on: `with when(approval(f"Deploy {auc:.3f}?", approvers=["ml-leads"]).approved):`.

    `approvers` are people and groups; with none, whoever operates the workspace answers. A rejection is a value, no failure.

    :raises GraphError: outside of a pipeline, or an argument can't be used.
    """
    drawing = needed_drawing("approval(...)")
    where = f"{user_place()}: approval"
    if isinstance(approvers, str) or handles_in(list(approvers)):
        raise GraphError(f"{where}: approvers= is a list of names that are known now, such as ['ml-leads']")
    _check_question(where, question)
    target = checked_target(
        where,
        ApprovalTarget,
        approvers=tuple(approvers),
        timeout_seconds=None if timeout is None else seconds(timeout, "timeout"),
        on_timeout=on_timeout,
    )
    arguments: dict[str, object] = {QUESTION: question, **_evidence(where, evidence)}
    return cast(Decision, draw_undispatched(drawing, name, target, arguments, Decision))


def _check_question(where: str, question: object) -> None:
    source = source_of(question)
    if not isinstance(question, str) and (source is None or source.annotation is not str):
        found = repr(question) if source is None else source.label
        raise GraphError(f"{where}: the question is text, and got {found}; put values into it with an f-string")


def _evidence(where: str, evidence: Sequence[object]) -> dict[str, object]:
    """What people look at, by what it is called in the pipeline."""
    if not isinstance(evidence, list | tuple):
        raise GraphError(f"{where}: evidence= is a list of results of steps, such as [metrics]")
    found: dict[str, object] = {}
    for number, value in enumerate(evidence, start=1):
        source = source_of(value)
        wanted = source.label if source is not None else f"evidence-{number}"
        found[wanted if wanted not in (*found, QUESTION) else f"{wanted} ({number})"] = value
    return found
