"""Names that a coming version fills: calling one says so, and nothing happens in between."""

from typing import NoReturn, TypeVar

from penstock.contracts.errors import GraphError
from penstock.sdk.drawing.places import user_place

T = TypeVar("T")


def transfer(source: T, *, to: str) -> T:
    """Copies an artifact to a place outside.

    :raises GraphError: this version has no transfers.
    """
    _refuse("transfer(...)", "copy the file in a step with cache=False")


def _refuse(what: str, mend: str) -> NoReturn:
    raise GraphError(f"{user_place()}: this version of Penstock has no {what} yet; until then, {mend}")
