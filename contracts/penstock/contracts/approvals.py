"""Approvals: what a run asks people, and what they answer."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.contracts.access import GROUP_PREFIX, Principal, Role
from penstock.contracts.artifacts import Value

ApprovalState = Literal["open", "approved", "rejected", "expired", "withdrawn"]
"""`expired`: nobody answered in time. `withdrawn`: its run ended, or does not need it any more."""
COMMENT_BYTES = 2000


class ApprovalView(BaseModel):
    """A question of a run. Times are microseconds since 1970 UTC."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    run_id: str
    run_name: str
    pipeline: str
    step: str
    index: tuple[int, ...] = ()
    question: str
    approvers: tuple[str, ...] = ()
    evidence: dict[str, Value] = {}
    state: ApprovalState
    asked_at: int
    expires_at: int | None = None
    decided_at: int | None = None
    decided_by: str | None = None
    comment: str = ""

    @property
    def address(self) -> str:
        """The step run that asks: `approval`, `approval/3`."""
        return "/".join([self.step, *map(str, self.index)])


class DecisionRequest(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    approved: bool
    comment: Annotated[str, Field(max_length=COMMENT_BYTES)] = ""


def may_decide(principal: Principal, approvers: tuple[str, ...]) -> bool:
    """Admins may always; else those who are named, they or their group; where nobody is named, whoever operates the workspace."""
    if principal.role.includes(Role.ADMIN):
        return True
    if not approvers:
        return principal.role.includes(Role.OPERATOR)
    groups = {name for group in principal.groups for name in (group, f"{GROUP_PREFIX}{group}")}
    return principal.name in approvers or not groups.isdisjoint(approvers)
