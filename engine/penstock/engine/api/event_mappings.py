"""How plain messages become events, over HTTP: mappings, and messages that nobody could read."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from penstock.contracts.errors import InvalidInput
from penstock.contracts.event_mappings import EventMapping
from penstock.contracts.event_views import RefusalView
from penstock.engine.api.incoming import accepted, body_within, received_now, ring
from penstock.engine.api.pages import PAGE, Cursor, Limit, page, place_of
from penstock.engine.api.problems import NotFound
from penstock.engine.api.services import Serving, answer, answer_all, body_of, json_answer, now, read_body
from penstock.engine.events.mappings import all_mappings, put_mapping, remove_mapping
from penstock.engine.events.plain_messages import mapped_event
from penstock.engine.events.refusals import drop_refusal, refusals, try_again

router = APIRouter(tags=["events"])
MappingName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_.-]{0,126}$")]
RefusalNo = Annotated[int, Path(ge=1, le=2**62)]
_NEWEST = 2**62


class EventMappings(BaseModel):
    mappings: tuple[EventMapping, ...]


class Refusals(BaseModel):
    refused: tuple[RefusalView, ...]
    next: str | None = None


class ReadAgain(BaseModel):
    """The events that a message was read as."""

    event_nos: tuple[int, ...]


@router.post("/events/plain/{mapping}", status_code=202, summary="Take in a plain message, as a mapping says")
async def take_plain(mapping: MappingName, request: Request, services: Serving) -> Response:
    """The body is JSON or text. The answer says where the event can be looked at."""
    body = await body_within(request)
    declared = (await services.read(all_mappings)).by_workspace.get(services.workspace, ())
    found = next((one for one in declared if one.name == mapping), None)
    if found is None:
        raise NotFound(f"there is no mapping {mapping!r}: declare it with PUT /v1/events/mappings/{mapping}")
    return await accepted(request, services, received_now(services, "plain", [mapped_event(found, body)]))


@router.get("/events/mappings", response_model=EventMappings, summary="Mappings of plain messages to events")
async def list_mappings(services: Serving) -> Response:
    return answer_all("mappings", list((await services.read(all_mappings)).by_workspace.get(services.workspace, ())))


@router.put("/events/mappings/{name}", response_model=EventMapping, openapi_extra=body_of(EventMapping), summary="Declare a mapping")
async def declare_mapping(name: MappingName, request: Request, services: Serving) -> Response:
    """Its expressions are CEL over `message`. It takes the place of what had its name."""
    mapping = await read_body(request, EventMapping)
    if mapping.name != name:
        raise InvalidInput(f"the mapping is called {mapping.name!r}, the address says {name!r}")
    await services.write(lambda connection: put_mapping(connection, services.workspace, mapping, services.principal.name, now()))
    return answer(mapping)


@router.delete("/events/mappings/{name}", status_code=204, summary="Forget a mapping")
async def forget_mapping(name: MappingName, services: Serving) -> Response:
    if not await services.write(lambda connection: remove_mapping(connection, services.workspace, name)):
        raise NotFound(f"there is no mapping {name!r}")
    return Response(status_code=204)


@router.get("/events/refused", response_model=Refusals, summary="Messages that nobody could read, the newest first")
async def list_refused(services: Serving, cursor: Cursor = None, limit: Limit = PAGE) -> Response:
    (before,) = place_of(cursor, int) or (_NEWEST,)
    found = await services.read(lambda connection: refusals(connection, services.workspace, before, limit + 1))
    return page("refused", [((view.refusal_no,), view) for view in found], limit)


@router.post("/events/refused/{refusal_no}/retry", response_model=ReadAgain, summary="Read one again")
async def read_again(refusal_no: RefusalNo, services: Serving) -> Response:
    """As the mappings are now. Once it is kept as events, it is refused no more."""

    def function(connection: Connection) -> ReadAgain:
        stored = try_again(connection, services.workspace, refusal_no, now())
        if stored is None:
            raise NotFound(f"there is no refused message {refusal_no}")
        return ReadAgain(event_nos=tuple(one.event_no for one in stored))

    found = await services.write(function)
    await ring(services)
    return json_answer(found.model_dump(mode="json"))


@router.delete("/events/refused/{refusal_no}", status_code=204, summary="Forget one")
async def forget_refused(refusal_no: RefusalNo, services: Serving) -> Response:
    if not await services.write(lambda connection: drop_refusal(connection, services.workspace, refusal_no)):
        raise NotFound(f"there is no refused message {refusal_no}")
    return Response(status_code=204)
