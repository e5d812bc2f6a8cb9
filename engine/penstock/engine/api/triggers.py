"""Triggers over HTTP: declared, tried, paused, explained."""

from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.errors import InvalidInput
from penstock.contracts.event_views import DecisionView, HeldView, Outcome, Tried, TriggerView
from penstock.contracts.spec import PipelineSpec, decode_spec
from penstock.contracts.triggers import TriggerSpec
from penstock.engine.api.pages import PAGE, Cursor, Limit, page, place_of
from penstock.engine.api.problems import NotFound
from penstock.engine.api.services import Services, Serving, answer, answer_all, body_of, now, read_body
from penstock.engine.events.cloud_event_formats import structured_event
from penstock.engine.events.look_rows import tell_existing
from penstock.engine.events.queries import NEWEST, DecisionPlace, decisions_of_trigger, event_view
from penstock.engine.events.trigger_queries import held_views, trigger_view, trigger_views
from penstock.engine.events.triggers import declare, find_trigger, remove, set_state
from penstock.engine.published.versions import resolve, spec_bytes
from penstock.engine.triggers.checking import check_trigger
from penstock.engine.triggers.trying import tried

router = APIRouter(tags=["triggers"])
T = TypeVar("T")
TriggerName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_.-]{0,126}$")]
OutcomeAsked = Annotated[Outcome | None, Query(description="Only decisions that came to this.")]


class Triggers(BaseModel):
    triggers: tuple[TriggerView, ...]


class Decisions(BaseModel):
    decisions: tuple[DecisionView, ...]
    next: str | None = None


class HeldByTrigger(BaseModel):
    held: tuple[HeldView, ...]


class TryRequest(BaseModel):
    """What a trigger is tried on: an event in CloudEvents' JSON, or the number of one that is kept; and, in the place of the declared
    trigger, one that is not."""

    model_config = ConfigDict(extra="forbid")

    event: dict[str, Any] | None = None
    event_no: Annotated[int, Field(ge=1, le=2**62)] | None = None
    spec: TriggerSpec | None = None


@router.get("/triggers", response_model=Triggers, summary="Triggers, how they stand, and what they decided in the last day")
async def list_all(services: Serving) -> Response:
    return answer_all("triggers", await services.read(lambda connection: trigger_views(connection, services.workspace, now())))


@router.get("/triggers/{name}", response_model=TriggerView, summary="A trigger")
async def show(name: TriggerName, services: Serving) -> Response:
    return answer(await services.read(lambda connection: _view(connection, services, name)))


@router.put("/triggers/{name}", response_model=TriggerView, openapi_extra=body_of(TriggerSpec), summary="Declare a trigger, or change it")
async def put(name: TriggerName, request: Request, services: Serving) -> Response:
    """It is checked against the pipeline that it starts. The same again changes nothing, anything else is a new version; it stays paused or
    on as it was."""
    spec = await read_body(request, TriggerSpec)
    if spec.name != name:
        raise InvalidInput(f"the trigger is called {spec.name!r}, the address says {name!r}")

    def function(connection: Connection) -> TriggerView:
        declare(connection, services.workspace, spec, services.principal.name, now())
        return trigger_view(connection, services.workspace, name, now())

    return answer(await services.write(function))


@router.delete("/triggers/{name}", status_code=204, summary="End a trigger that was declared by itself")
async def delete(name: TriggerName, services: Serving) -> Response:
    """What it decided stays; what it held is let go."""

    def function(connection: Connection) -> None:
        _view(connection, services, name)
        remove(connection, services.workspace, name, now())

    await services.write(function)
    return Response(status_code=204)


@router.post("/triggers/{name}/pause", response_model=TriggerView, summary="Have it start nothing")
async def pause(name: TriggerName, services: Serving) -> Response:
    """Events are still kept, with the decision that it was paused."""
    return answer(await _set_state(services, name, "paused"))


@router.post("/triggers/{name}/resume", response_model=TriggerView, summary="Have it start runs")
async def resume(name: TriggerName, services: Serving) -> Response:
    return answer(await _set_state(services, name, "on"))


@router.post("/triggers/{name}/existing", response_model=TriggerView, summary="Tell it of the data that is there already")
async def tell_of_existing(name: TriggerName, services: Serving) -> Response:
    """What was there when a trigger on data was switched on starts nothing, until this is asked for: then each object counts as changed."""

    def function(connection: Connection) -> TriggerView:
        view = _view(connection, services, name)
        if not tell_existing(connection, services.workspace, name, now()):
            raise InvalidInput(f"the trigger {name!r} looks at no data" if view.state != "inert" else f"the trigger {name!r} is inert")
        return view

    return answer(await services.write(function))


@router.post("/triggers/{name}/test", response_model=Tried, openapi_extra=body_of(TryRequest), summary="What would it make of an event?")
async def test(name: TriggerName, request: Request, services: Serving) -> Response:
    """Nothing is kept, and nothing starts. With a `spec` the trigger needs not be declared; its pipeline must be published."""
    asked = await read_body(request, TryRequest)
    if (asked.event is None) == (asked.event_no is None):
        raise InvalidInput("say which event: `event` with a CloudEvent, or `event_no` with the number of one that is kept")

    def function(connection: Connection) -> Tried:
        spec = asked.spec or _spec(connection, services, name)
        event = _event(connection, services.workspace, asked)
        pipeline = _pipeline(connection, services.workspace, spec)
        check_trigger(spec, pipeline)
        return tried(spec, pipeline, event, services.workspace)

    return answer(await services.read(function))


@router.get("/triggers/{name}/decisions", response_model=Decisions, summary="What it made of events, the newest first")
async def list_decisions(
    name: TriggerName, services: Serving, outcome: OutcomeAsked = None, cursor: Cursor = None, limit: Limit = PAGE
) -> Response:
    """All its versions' decisions, with reasons and runs."""
    place = place_of(cursor, int, int, int)
    before = NEWEST if place is None else DecisionPlace(*place)

    def function(connection: Connection) -> list[DecisionView]:
        found = decisions_of_trigger(connection, services.workspace, name, before=before, limit=limit + 1, outcome=outcome)
        # Of one that is gone the decisions stay.
        return found or _of_a_trigger(connection, services, name, found)

    return page("decisions", [((view.at, view.event_no, view.replay), view) for view in await services.read(function)], limit)


@router.get("/triggers/{name}/held", response_model=HeldByTrigger, summary="Events that it holds, and what for")
async def list_held(name: TriggerName, services: Serving) -> Response:
    def function(connection: Connection) -> list[HeldView]:
        return _of_a_trigger(connection, services, name, held_views(connection, services.workspace, name))

    return answer_all("held", await services.read(function))


def _of_a_trigger(connection: Connection, services: Services, name: str, found: list[T]) -> list[T]:
    """:raises NotFound: there is no such trigger."""
    _spec(connection, services, name)
    return found


async def _set_state(services: Services, name: str, state: Literal["paused", "on"]) -> TriggerView:
    def function(connection: Connection) -> TriggerView:
        _view(connection, services, name)
        set_state(connection, services.workspace, name, state, now())
        return _view(connection, services, name)

    return await services.write(function)


def _view(connection: Connection, services: Services, name: str) -> TriggerView:
    try:
        return trigger_view(connection, services.workspace, name, now())
    except InvalidInput as error:
        raise NotFound(str(error)) from error


def _spec(connection: Connection, services: Services, name: str) -> TriggerSpec:
    try:
        return find_trigger(connection, services.workspace, name).spec
    except InvalidInput as error:
        raise NotFound(str(error)) from error


def _event(connection: Connection, workspace: str, asked: TryRequest) -> CloudEvent:
    if asked.event_no is None:
        return structured_event(asked.event)
    return structured_event(event_view(connection, workspace, asked.event_no).event)


def _pipeline(connection: Connection, workspace: str, spec: TriggerSpec) -> PipelineSpec:
    return decode_spec(spec_bytes(connection, workspace, resolve(connection, workspace, spec.pipeline).spec_digest))
