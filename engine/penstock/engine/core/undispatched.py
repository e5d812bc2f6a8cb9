"""The steps that no runner executes: what they are about is done here, once what they take is there. They are never taken from the cache;
a run that reruns another keeps what the other had of them, where it keeps the outputs of those steps."""

from penstock.contracts.errors import ContractError
from penstock.contracts.messages import Failure
from penstock.contracts.states import FailureKind
from penstock.contracts.targets import ApprovalTarget, RegisterTarget
from penstock.engine.core import approvals, lookup, registrations
from penstock.engine.core.rows import StepRow
from penstock.engine.core.slice import Slice, Steps


def perform(rows: Slice, found: list[StepRow]) -> Steps:
    """Does what these are about, or begins to."""
    if not found:
        return
    pinned = yield from lookup.pinned(rows, found)
    for row in found:
        if row.place in pinned:
            lookup.pin(rows, row, pinned[row.place])
            continue
        target = rows.plan.step(row.node).run
        try:
            if isinstance(target, ApprovalTarget):
                approvals.ask(rows, row, target)
            elif isinstance(target, RegisterTarget):
                yield from registrations.register(rows, row, target)
        except ContractError as error:
            rows.fail(row, Failure(kind=FailureKind.ERROR, message=str(error)))
