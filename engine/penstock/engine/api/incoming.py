"""Events as requests bring them: read like messages of the bus, kept, and told to whoever decides."""

import contextlib
from collections.abc import Sequence
from urllib.parse import unquote

from fastapi import Request, Response
from pydantic import BaseModel

from penstock.contracts.cloud_events import CloudEvent, ReceivedEvent
from penstock.contracts.errors import BusUnavailable, ContractError
from penstock.engine.api.problems import NotAllowed
from penstock.engine.api.services import Services, json_answer, now
from penstock.engine.events.foreign_sources import check_foreign
from penstock.engine.events.intake import Stored, store_events
from penstock.engine.events.plain_messages import NO_MAPPINGS, Mappings
from penstock.engine.events.received import RECEIVED_LIMIT, events_of
from penstock.transport.bus import Envelope, Exchange, Properties

PREFIX = "ce-"


class AcceptedEvent(BaseModel):
    """An event that is kept. `is_new` is false of one that was known; `is_conflict` says that it was known with another content."""

    event_no: int
    id: str
    source: str
    type: str
    is_new: bool
    is_conflict: bool
    url: str


class Accepted(BaseModel):
    events: tuple[AcceptedEvent, ...]


async def body_within(request: Request) -> bytes:
    """:raises NotAllowed: it is too large for events."""
    body = await request.body()
    if len(body) > RECEIVED_LIMIT:
        raise NotAllowed(413, f"the body has {len(body)} bytes, {RECEIVED_LIMIT} at most: let the events name where their data is")
    return body


def told_by(request: Request, key: str = "") -> Properties:
    """What came with the body, as a message of the bus would have it. Values of `ce-` headers may be percent-encoded."""
    attributes = {
        f"cloudEvents:{name[len(PREFIX) :]}": unquote(value, errors="replace")
        for name, value in request.headers.items()
        if name.startswith(PREFIX)
    }
    return Properties(content_type=request.headers.get("content-type", ""), headers=attributes, key=key)


def read_events(services: Services, body: bytes, told: Properties, mappings: Mappings = NO_MAPPINGS) -> list[ReceivedEvent]:
    """:raises ContractError: the body is no event."""
    if not body and not told.headers:
        raise ContractError("the request has no event: no body, and no ce- headers")
    via, events = events_of(body, told, mappings, services.workspace)
    return received_now(services, "http" if via == "amqp" else via, events)


def received_now(services: Services, via: str, events: Sequence[CloudEvent]) -> list[ReceivedEvent]:
    """:raises ContractError: one of them feigns to be the workspace's own."""
    at, sender = now(), services.principal.name
    found = [ReceivedEvent(workspace=services.workspace, via=via, event=event, sender=sender, received_at=at) for event in events]
    check_foreign(found)
    return found


async def accepted(request: Request, services: Services, received: Sequence[ReceivedEvent]) -> Response:
    """Keeps the events, and answers where they can be looked at."""
    stored = await services.write(lambda connection: store_events(connection, received))
    await ring(services)
    base = str(request.url.path).split("/events", 1)[0]
    events = [accepted_event(base, one, kept) for one, kept in zip(received, stored, strict=True)]
    answer = json_answer(Accepted(events=tuple(events)).model_dump(mode="json"), 202)
    if len(events) == 1:
        answer.headers["Location"] = events[0].url
    return answer


def accepted_event(base: str, received: ReceivedEvent, stored: Stored) -> AcceptedEvent:
    event = received.event
    return AcceptedEvent(
        event_no=stored.event_no,
        id=event.id,
        source=event.source,
        type=event.type,
        is_new=stored.is_new,
        is_conflict=stored.is_conflict,
        url=f"{base}/events/{stored.event_no}",
    )


async def ring(services: Services) -> None:
    """Has whoever decides look at the rows now; without it they look within a second."""
    with contextlib.suppress(BusUnavailable):
        await services.bus.publish(Envelope(exchange=Exchange.INGEST, body=b""))
