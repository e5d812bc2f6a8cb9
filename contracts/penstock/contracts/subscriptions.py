"""Subscriptions: who wants to hear of what, on the bus or by webhook, and what became of each delivery.

Times are microseconds since 1970 UTC.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from penstock.contracts.event_types import OWN, RUN_TYPES, STEP_TYPES, type_fits

SubscriptionName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
EventTypePattern = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""An event type; `*` at its end stands for anything."""
MOST_PER_SECOND = 1000

SubscriptionKind = Literal["bus", "webhook"]
SubscriptionState = Literal["on", "paused", "off"]
"""`off`: the receiver said that it wants no more."""
DeliveryState = Literal["owed", "delivered", "dead"]
"""`dead`: given up; it can be retried."""


class SubscriptionRequest(BaseModel):
    """A subscription as it is asked for. `pipeline` None: of every pipeline. `rate_per_second` None: as fast as the receiver answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: SubscriptionName
    kind: SubscriptionKind
    types: Annotated[tuple[EventTypePattern, ...], Field(min_length=1, max_length=32)] = ("penstock.run.*",)
    pipeline: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,254}$")] | None = None
    url: Annotated[str, Field(min_length=8, max_length=2048)] | None = None
    rate_per_second: Annotated[int, Field(ge=1, le=MOST_PER_SECOND)] | None = None

    @field_validator("types")
    @classmethod
    def _there_are_such(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        known = (*RUN_TYPES, *STEP_TYPES)
        for pattern in types:
            if pattern.startswith(OWN) and not any(type_fits(pattern, one) for one in known):
                raise ValueError(f"no event has the type {pattern!r}: there are {', '.join(known)}")
        return types

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if self.kind == "webhook" and self.url is None:
            raise ValueError("a webhook needs a `url` to post to")
        if self.kind == "bus" and (self.url is not None or self.rate_per_second is not None):
            raise ValueError("on the bus, receivers bind queues of their own: leave `url` and `rate_per_second` out")
        return self


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class SubscriptionView(_View):
    """A subscription. `error` says why it is off. `owed` and `dead` count deliveries."""

    name: str
    kind: SubscriptionKind
    types: tuple[str, ...]
    pipeline: str | None = None
    url: str | None = None
    rate_per_second: int | None = None
    state: SubscriptionState
    error: str | None = None
    made_at: int
    made_by: str = ""
    owed: int = 0
    dead: int = 0


class CreatedSubscription(SubscriptionView):
    """With the secret that signs its deliveries. It is shown this once; None on the bus."""

    secret: str | None = None


class DeliveryView(_View):
    """An event on its way to a webhook, or there. `status` is the receiver's last answer, `due_at` the next try."""

    delivery_no: int
    subscription: str
    message_id: str
    """Of the `webhook-id` header: the same at each try."""
    event_id: str
    type: str
    state: DeliveryState
    tries: int = 0
    made_at: int
    due_at: int
    ended_at: int | None = None
    status: int | None = None
    error: str | None = None
