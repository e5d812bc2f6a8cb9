"""Orders of other versions of Penstock: what every version says, so that they can be given back."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from penstock.contracts.errors import ContractError
from penstock.contracts.messages import COMMAND_LIMIT, AttemptKey, Token, clean_text, payload_of


class UnreadOrder(BaseModel):
    """`version` is as it came, for whoever is told of it."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    version: Annotated[Any, AfterValidator(lambda version: clean_text(str(version), 40))]
    attempt: AttemptKey
    token: Token


def read_unread_order(data: bytes) -> UnreadOrder | None:
    """What can be said of an order that `decode` refuses; None where it is no order, or not even that can be read."""
    try:
        fields = payload_of(data, COMMAND_LIMIT)
        return UnreadOrder.model_validate(fields) if fields.get("type") == "order" else None
    except (ContractError, ValidationError, RecursionError):
        return None
