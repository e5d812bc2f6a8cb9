"""How plain messages of others become events: a declared mapping, whose expressions are CEL over `message`."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penstock.contracts.triggers import Expression, TriggerName


class EventMapping(BaseModel):
    """`message` is what came: JSON, or text where it is none. Where `id` is left out it is the digest of the body: the same again is no
    other event.

    A message says by the header `penstock-mapping` that it is meant for it; else `routing_key` chooses (`*` is one word of a key, `#` any
    number of them), of messages from `exchange` if that is named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: TriggerName
    type: Expression
    source: Expression
    id: Expression | None = None
    time: Expression | None = None
    subject: Expression | None = None
    data: Expression | None = None
    """None: the whole message."""
    routing_key: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    exchange: Annotated[str, Field(min_length=1, max_length=255)] | None = None

    @model_validator(mode="after")
    def _chooses(self) -> Self:
        if self.exchange is not None and self.routing_key is None:
            raise ValueError("an exchange needs a routing key beside it: `#` is every key")
        return self

    @property
    def expressions(self) -> dict[str, str]:
        """Those that there are, by what they say."""
        named = {"id": self.id, "source": self.source, "type": self.type, "time": self.time, "subject": self.subject, "data": self.data}
        return {name: text for name, text in named.items() if text is not None}
