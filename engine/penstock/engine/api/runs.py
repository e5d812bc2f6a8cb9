"""Runs over HTTP: asked for, listed, followed, cancelled, forgotten."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from penstock.contracts.artifacts import Value
from penstock.contracts.encoding import canonical, digest_of
from penstock.contracts.errors import BusUnavailable, InvalidInput
from penstock.contracts.messages import CancelRun, Cause, RunIdText, RunOptions, SubmitRun, Text, encode
from penstock.contracts.numbers import Count
from penstock.contracts.spec import encode_spec
from penstock.contracts.states import RunState
from penstock.contracts.views import RunView
from penstock.engine.api.callers import BOOTSTRAP_CALLER, LOCAL_CALLER
from penstock.engine.api.holding import check_code
from penstock.engine.api.pages import LARGEST_PAGE, page, place_of
from penstock.engine.api.services import Row, Services, Serving, answer, body_of, now, read_body
from penstock.engine.api.submission import taken_in
from penstock.engine.housekeeping import checked_terminal, remove_run
from penstock.engine.queries import plan_of_run, run_view
from penstock.engine.run_lists import FIRST, RunFilter, runs_before
from penstock.engine.runs import ask_to_cancel
from penstock.engine.waiting import Reasons
from penstock.transport.bus import Envelope, Exchange

router = APIRouter(tags=["runs"])

VERSION_HEADER = "Penstock-Run-Version"
LONGEST_WAIT = 30.0
QueryText = Annotated[str | None, Field(max_length=255, pattern=r"^[^\x00]*$")]
_HEARD_MICROSECONDS = 2_000_000
"""So long a coordinator has time to hear of a cancellation, before it finds word of it in the rows."""
_LOOK_SECONDS = 0.2
"""Between two looks at a run that somebody follows."""


class RunRequest(BaseModel):
    """A run that is asked for. `run_id` makes it idempotent; `spec` is a pipeline spec as plain JSON."""

    model_config = ConfigDict(extra="forbid")

    run_id: RunIdText
    spec: dict[str, Any]
    parameters: dict[str, Value] = {}
    name: Annotated[Text, Field(min_length=1, max_length=255)] | None = None
    tags: dict[Text, Text] = {}
    experiment: Annotated[Text, Field(max_length=255)] | None = None
    cause: Cause = Cause(kind="api")
    options: RunOptions = RunOptions()


class CancelRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Text = ""


@router.post("/runs", status_code=201, response_model=RunView, openapi_extra=body_of(RunRequest), summary="Ask for a run")
async def submit_run(request: Request, services: Serving) -> Response:
    """Durable, with its name, when this answers. The same `run_id` again changes nothing (200)."""
    asked = await read_body(request, RunRequest)
    submission = SubmitRun(
        workspace=services.workspace,
        run_id=asked.run_id,
        spec=canonical(asked.spec),
        parameters=asked.parameters,
        name=asked.name,
        tags=asked.tags,
        experiment=asked.experiment,
        cause=_cause(services, asked.cause),
        options=asked.options,
        owner=services.settings.owner,
    )
    await check_code(services, submission.spec)
    return await taken_in(services, submission)


def _cause(services: Services, claimed: Cause) -> Cause:
    """Who asked is who shows a token or a login; whoever has the token of everything may speak for others."""
    if services.caller.kind in (LOCAL_CALLER.kind, BOOTSTRAP_CALLER.kind):
        return claimed
    return claimed.model_copy(update={"by": services.principal.name})


class RunsQuery(BaseModel):
    """Which runs are listed; what is left out stands for any. Times are microseconds since 1970 UTC."""

    model_config = ConfigDict(extra="forbid")

    pipeline: QueryText = None
    state: RunState | None = None
    experiment: QueryText = None
    tag: Annotated[str | None, Field(max_length=512, pattern=r"^[^\x00=]+=[^\x00]*$", description="NAME=VALUE")] = None
    cause: Literal["manual", "api", "event", "schedule", "data", "run", "rerun"] | None = None
    trigger: QueryText = None
    since: Count = 0
    until: Count = 2**62
    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE, description="So many at most.")] = 20
    cursor: Annotated[str | None, Field(max_length=2000, description="What `next` of the page before said.")] = None
    workspace: QueryText = None
    """Looked at before any route is."""

    @property
    def filter(self) -> RunFilter:
        name, _, value = (self.tag or "").partition("=")
        plain = self.model_dump(include={"pipeline", "state", "experiment", "cause", "trigger", "since", "until"})
        return RunFilter(**plain, tag=(name, value) if self.tag is not None else None)


@router.get("/runs", summary="Runs, the newest first")
async def list_runs(services: Serving, query: Annotated[RunsQuery, Query()]) -> Response:
    """Without their steps. `next` is the cursor of the following page, null on the last one."""
    place = place_of(query.cursor, int)
    before = place[0] if place is not None else FIRST
    entries = await services.read(
        lambda connection: runs_before(connection, services.workspace, query.filter, before, query.limit + 1, now())
    )
    return page("runs", entries, query.limit)


@router.get("/runs/{run}", response_model=RunView, summary="A run, now or once it has changed")
async def show_run(
    run: str,
    services: Serving,
    after: Annotated[str | None, Query(max_length=80, description="The version that is known.")] = None,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="So many seconds for another version.")] = 0.0,
) -> Response:
    """With `after`, answers 304 where the run is still at that version after `wait` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        began = loop.time()
        view = await _view(services, run)
        version = _version(view)
        headers = {VERSION_HEADER: version, "Cache-Control": "no-store"}
        if version != after:
            return answer(view, headers=headers)
        if loop.time() >= deadline:
            return Response(status_code=304, headers=headers)
        # Counting the step runs of a large run takes a while: it gets a tenth of the time.
        await asyncio.sleep(min(max(_LOOK_SECONDS, 10 * (loop.time() - began)), max(0.0, deadline - loop.time())))


def _version(view: RunView) -> str:
    """The same for as long as nothing changes but the age of hits."""
    steps = [count.model_copy(update={"oldest_hit_seconds": None}) for count in view.steps]
    return digest_of(view.model_copy(update={"steps": tuple(steps)}).model_dump(mode="json")).removeprefix("sha256:")[:32]


async def _view(services: Services, run: str) -> RunView:
    def function(connection: Connection) -> RunView:
        row = services.row(connection, run)
        view = run_view(connection, row, now())
        if view.state.is_terminal:
            return view
        return _with_reasons(connection, row, _with_progress(connection, row, view, services), services)

    return await services.read(function)


def _with_reasons(connection: Connection, row: Row, view: RunView, services: Services) -> RunView:
    """With what is missing where steps wait for slots."""
    reasons = Reasons(connection, services.workspace, services.fleet.slots(services.workspace), now()).of_run(row[0])
    if not reasons:
        return view
    nodes = plan_of_run(connection, row).nodes
    notes = {nodes[node].name: reason for node, reason in reasons.items()}
    return view.model_copy(
        update={"steps": tuple(count.model_copy(update={"note": count.note or notes.get(count.name, "")}) for count in view.steps)}
    )


def _with_progress(connection: Connection, row: Row, view: RunView, services: Services) -> RunView:
    """With what the steps say of how far they are: the sum over their step runs, and the newest text."""
    told = services.fleet.progress(row[0])
    if not told:
        return view
    nodes = plan_of_run(connection, row).nodes
    found: dict[str, tuple[float, float | None, str]] = {}
    for one in told:
        if one.attempt.step_no < len(nodes):
            name = nodes[one.attempt.step_no].name
            done, total, _ = found.get(name, (0.0, 0.0, ""))
            both = None if total is None or one.total is None else total + one.total
            found[name] = (done + one.done, both, one.text)
    return view.model_copy(update={"steps": tuple(count.model_copy(update={"progress": found.get(count.name)}) for count in view.steps)})


@router.get("/runs/{run}/spec", summary="The pipeline that a run executes")
async def show_spec(run: str, services: Serving) -> Response:
    """The canonical bytes of its spec."""
    data = await services.read(lambda connection: encode_spec(plan_of_run(connection, services.row(connection, run)).spec))
    return Response(data, media_type="application/json")


@router.post("/runs/{run}/cancel", status_code=202, response_model=RunView, openapi_extra=body_of(CancelRequest), summary="Stop a run")
async def cancel_run(run: str, request: Request, services: Serving) -> Response:
    """Nothing new starts once a coordinator has taken it in. One that has ended stays as it is."""
    asked = await read_body(request, CancelRequest)
    view = await _view(services, run)
    if view.state.is_terminal:
        return answer(view)
    is_finishing = view.state is RunState.FINISHING
    command = CancelRun(
        workspace=services.workspace, run_id=view.run_id, reason=asked.reason or "it was cancelled", leaves_hooks=is_finishing
    )

    async def leave_word(later: int) -> None:
        await services.write(lambda connection: ask_to_cancel(connection, services.row(connection, view.run_id)[0], now() + later))

    # In the rows it is safe from whatever becomes of the message, which comes sooner and knows the reason.
    await leave_word(_HEARD_MICROSECONDS)
    try:
        await services.bus.publish(Envelope(exchange=Exchange.REPORTS, key="cancel", body=encode(command)))
    except BusUnavailable:
        await leave_word(0)
    return answer(view, 202)


@router.post("/runs/{run}/resume", response_model=RunView, summary="Go on with a run")
async def resume_run(run: str, services: Serving) -> Response:
    """Services go on with every run by themselves: nothing is to be done, and one that has ended can't."""
    view = await _view(services, run)
    if view.state.is_terminal:
        raise InvalidInput(f"the run {view.name} has ended ({view.state.value}): a new run of it is `penstock rerun {view.name}`")
    return answer(view)


@router.delete("/runs/{run}", status_code=204, summary="Forget a run that has ended")
async def forget_run(run: str, services: Serving) -> Response:
    """Its cache entries and artifacts stay until they are collected."""

    def function(connection: Connection) -> None:
        row = services.row(connection, run)
        checked_terminal(row[3], row[7], row[10])
        remove_run(connection, row[0])

    await services.write(function)
    return Response(status_code=204)
