"""Names that a coming version fills: calling one says so, and nothing happens in between."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from penstock.contracts.errors import GraphError
from penstock.sdk.drawing.places import user_place
from penstock.sdk.options import Duration

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What people answered to an `approval`."""

    approved: bool
    by: str = ""
    comment: str = ""


def approval(
    question: str,
    *,
    approvers: Sequence[str] = (),
    timeout: Duration | None = None,
    on_timeout: str = "reject",
    evidence: Sequence[object] = (),
) -> Decision:
    """Asks people before the run goes on.

    :raises GraphError: this version has no approvals.
    """
    _refuse("approval(...)", "start the part after the approval as a pipeline of its own")


def transfer(source: T, *, to: str) -> T:
    """Copies an artifact to a place outside.

    :raises GraphError: this version has no transfers.
    """
    _refuse("transfer(...)", "copy the file in a step with cache=False")


def register(artifact: object, name: str, *, alias: str | None = None) -> None:
    """Gives an artifact a name and an alias.

    :raises GraphError: this version has no named artifacts.
    """
    _refuse("register(...)", "return the artifact from the pipeline, and tag the run")


def _refuse(what: str, mend: str) -> NoReturn:
    raise GraphError(f"{user_place()}: this version of Penstock has no {what} yet; until then, {mend}")
