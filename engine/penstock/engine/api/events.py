"""Events over HTTP: taken in, listed, replayed."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from penstock.contracts.errors import ContractError, InvalidInput
from penstock.contracts.event_views import EventView, HeldView
from penstock.engine.api.event_mappings import router as mappings_router
from penstock.engine.api.incoming import Accepted, accepted, body_within, read_events, received_now, ring, told_by
from penstock.engine.api.pages import PAGE, Cursor, Limit, page, place_of
from penstock.engine.api.problems import NotFound
from penstock.engine.api.services import Serving, answer, answer_all, now
from penstock.engine.events.again import replay, retry_dead, retry_failed
from penstock.engine.events.bucket_notifications import is_notification, notified_events
from penstock.engine.events.cloud_event_formats import BATCH, STRUCTURED
from penstock.engine.events.plain_json import json_of
from penstock.engine.events.queries import decisions_of_events, event_view, list_events
from penstock.engine.events.trigger_queries import held_views

router = APIRouter(tags=["events"])
EventNo = Annotated[int, Path(ge=1, le=2**62, description="Its number here.")]
EventType = Annotated[str | None, Query(max_length=255, description="A type; `*` at its end stands for anything.")]
EventSource = Annotated[str | None, Query(max_length=255, description="A source, as it is.")]
EventState = Annotated[Literal["new", "done", "dead"] | None, Query(description="How far it is.")]
Since = Annotated[int, Query(ge=0, le=2**62, description="Received from then on, in microseconds since 1970.")]


class Events(BaseModel):
    events: tuple[EventView, ...]
    next: str | None = None


class Held(BaseModel):
    held: tuple[HeldView, ...]


_ATTRIBUTES = ("id", "source", "type")
_CLOUD_EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", *_ATTRIBUTES],
    "properties": {
        "specversion": {"const": "1.0"},
        **{name: {"type": "string", "minLength": 1, "maxLength": 255} for name in _ATTRIBUTES},
        # What is null is left out, as CloudEvents has it.
        "time": {"type": ["string", "null"], "format": "date-time"},
        "subject": {"type": ["string", "null"], "maxLength": 1024},
        "datacontenttype": {"type": ["string", "null"], "maxLength": 255},
        "dataschema": {"type": ["string", "null"], "maxLength": 1024},
        "data": {},
        "data_base64": {"type": ["string", "null"], "contentEncoding": "base64"},
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            STRUCTURED: {"schema": _CLOUD_EVENT},
            BATCH: {"schema": {"type": "array", "items": _CLOUD_EVENT, "maxItems": 1000}},
            "application/json": {"schema": _CLOUD_EVENT},
        },
    }
}
_NOTIFICATION = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "properties": {"Records": {"type": "array"}}}}},
    }
}


@router.post("/events", status_code=202, response_model=Accepted, openapi_extra=_BODY, summary="Take in a CloudEvent, or a batch of them")
async def take_in(request: Request, services: Serving) -> Response:
    """CloudEvents 1.0: structured, batched, or binary with the attributes in `ce-` headers and the data in the body. The same source and id
    again change nothing. `Location` says where the event can be looked at."""
    body = await body_within(request)
    return await accepted(request, services, read_events(services, body, told_by(request)))


@router.post(
    "/events/s3", status_code=202, response_model=Accepted, openapi_extra=_NOTIFICATION, summary="Take in a notification of a bucket"
)
async def take_notification(request: Request, services: Serving) -> Response:
    """As S3, MinIO and Ceph send it: an event for each object. The message by which a bucket tries the address is none."""
    message = json_of(await body_within(request), "the notification")
    if not is_notification(message):
        raise ContractError("this is no notification of a bucket: it has no `Records` of `s3` objects")
    return await accepted(request, services, received_now(services, "s3", notified_events(message)))


# Their addresses would be taken for an event's number.
router.include_router(mappings_router)


@router.get("/events", response_model=Events, summary="Events with what became of each, the newest first")
async def list_all(
    services: Serving,
    type: EventType = None,  # noqa: A002 - what CloudEvents call it
    source: EventSource = None,
    state: EventState = None,
    since: Since = 0,
    cursor: Cursor = None,
    limit: Limit = PAGE,
) -> Response:
    (before,) = place_of(cursor, int) or (None,)

    def function(connection: Connection) -> list[EventView]:
        found = list_events(
            connection, services.workspace, before=before, limit=limit + 1, type=type, source=source, state=state, since=since
        )
        decisions = decisions_of_events(connection, [view.event_no for view in found])
        return [view.model_copy(update={"decisions": decisions.get(view.event_no, ())}) for view in found]

    return page("events", [((view.event_no,), view) for view in await services.read(function)], limit)


@router.get("/events/held", response_model=Held, summary="Events that triggers hold, and what for")
async def list_held(services: Serving) -> Response:
    """Half-joined ones with what is missing, bursts, batches, and what waits for its turn or for data."""
    return answer_all("held", await services.read(lambda connection: held_views(connection, services.workspace)))


@router.get("/events/{event_no:int}", response_model=EventView, summary="An event, and what every trigger made of it")
async def show(event_no: EventNo, services: Serving) -> Response:
    return answer(await services.read(lambda connection: _view(connection, services.workspace, event_no)))


@router.post("/events/{event_no}/replay", status_code=202, response_model=EventView, summary="Have every trigger decide it once more")
async def replay_event(event_no: EventNo, services: Serving) -> Response:
    """As another occurrence of the event: what it started before does not keep it from starting a run."""

    def function(connection: Connection) -> EventView:
        _view(connection, services.workspace, event_no)
        replay(connection, services.workspace, event_no)
        return _view(connection, services.workspace, event_no)

    view = await services.write(function)
    await ring(services)
    return answer(view, 202)


@router.post("/events/{event_no}/retry", status_code=202, response_model=EventView, summary="Try again what failed")
async def retry_event(event_no: EventNo, services: Serving) -> Response:
    """A dead event is decided again; of a decided one, the runs that could not be made are tried again."""

    def function(connection: Connection) -> EventView:
        if _view(connection, services.workspace, event_no).state == "dead":
            retry_dead(connection, services.workspace, event_no)
        else:
            retry_failed(connection, services.workspace, event_no, now())
        return _view(connection, services.workspace, event_no)

    view = await services.write(function)
    await ring(services)
    return answer(view, 202)


def _view(connection: Connection, workspace: str, event_no: int) -> EventView:
    try:
        return event_view(connection, workspace, event_no)
    except InvalidInput as error:
        raise NotFound(str(error)) from error
