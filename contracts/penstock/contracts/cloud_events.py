"""Events from outside, as CloudEvents 1.0 has them: what every way in (AMQP, HTTP, notifications) makes of what it is told.

Who it is from and what it is called (`source`, `id`) tell events apart: the same again changes nothing.
"""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from penstock.contracts.encoding import canonical
from penstock.contracts.messages import clean_text
from penstock.contracts.numbers import Count

EVENT_LIMIT = 256 * 1024
"""Bytes of an event in canonical JSON; data travels by reference."""
HOP_LIMIT = 16
"""Runs that an event may have come through before nothing starts from it any more, where nobody says otherwise."""

# Indexed columns of two databases hold these.
Attribute = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(lambda text: clean_text(text, 255))]
ExtensionName = Annotated[str, Field(pattern=r"^[a-z0-9]{1,40}$")]


class CloudEvent(BaseModel):
    """One event. `time` is RFC 3339 as its source wrote it; `data` plain JSON (bytes that are no JSON travel as base64 text).

    Extensions of ours: `correlationid` is the same for all that followed from one first cause, `causationid` names the event or run that
    this one followed from, `penstockhops` counts the runs between the first cause and this event.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: Attribute
    source: Attribute
    type: Attribute
    time: Annotated[str, Field(max_length=64)] | None = None
    subject: Annotated[str, Field(max_length=1024)] | None = None
    datacontenttype: Annotated[str, Field(max_length=255)] | None = None
    dataschema: Annotated[str, Field(max_length=1024)] | None = None
    data: Any = None
    extensions: Annotated[dict[ExtensionName, str | bool | int], Field(max_length=64)] = {}

    @model_validator(mode="after")
    def _is_small(self) -> Self:
        size = len(encode_cloud_event(self))
        if size > EVENT_LIMIT:
            raise ValueError(f"the event has {size} bytes, {EVENT_LIMIT} at most: let it name where its data is")
        return self

    @property
    def hops(self) -> int:
        """How many runs it came through."""
        hops = self.extensions.get("penstockhops", 0)
        return hops if isinstance(hops, int) and hops > 0 else 0

    @property
    def correlation_id(self) -> str:
        """Of the first cause; an event that names none is one."""
        return str(self.extensions.get("correlationid") or self.id)

    @property
    def variables(self) -> dict[str, Any]:
        """What expressions see as `event`: every attribute, those that it lacks as null, and its extensions."""
        known = {
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "time": self.time,
            "subject": self.subject,
            "datacontenttype": self.datacontenttype,
            "dataschema": self.dataschema,
            "data": self.data,
        }
        return {**self.extensions, **known}


def encode_cloud_event(event: CloudEvent) -> bytes:
    """Canonical JSON, as CloudEvents' structured mode has it."""
    return canonical({"specversion": "1.0", **event.extensions, **event.model_dump(exclude_none=True, exclude={"extensions"})})


class ReceivedEvent(BaseModel):
    """An event with the workspace that it is for and the way that it came: `amqp`, `http`, `s3`, `plain`, `schedule`, `data`, `run`."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    workspace: str
    via: str
    event: CloudEvent
    sender: str = ""
    """Who sent it, as far as the way in vouches for that: a broker's user, the owner of a token."""
    received_at: Count
