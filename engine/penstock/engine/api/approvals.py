"""Approvals over HTTP: what waits for people, and what they decide."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from penstock.contracts.approvals import ApprovalView, DecisionRequest, may_decide
from penstock.contracts.errors import InvalidInput
from penstock.engine.api.pages import PAGE, Cursor, Limit, page, place_of
from penstock.engine.api.problems import NotAllowed, NotFound
from penstock.engine.api.services import Services, Serving, answer, body_of, now, read_body
from penstock.engine.people.approvals import LAST, approval, approvals, approvals_behind, decide

router = APIRouter(tags=["approvals"])
Step = Annotated[str | None, Query(max_length=300, description="The step that asks, where the run waits for several.")]
Index = Annotated[list[int] | None, Query(max_length=20, description="Once for each fan-out around it, outermost first.")]


@router.get("/approvals", summary="What people are asked")
async def list_approvals(
    services: Serving,
    run: Annotated[str | None, Query(max_length=255, description="Of that run only.")] = None,
    state: Annotated[Literal["open", "all"], Query(description="What waits, oldest first; or all, newest first.")] = "open",
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Response:
    """`next` is the cursor of the following page, null on the last one. All of one run are on one page."""
    only_open = state == "open"
    if run is not None:
        await services.read(lambda connection: services.row(connection, run))
        of_run = await services.read(lambda connection: approvals(connection, services.workspace, run=run, only_open=only_open))
        return page("approvals", [((0,), view) for view in of_run], len(of_run))
    place = place_of(cursor, int, int, int, int)
    behind = (place[0], place[1], place[2], place[3]) if place is not None else None
    found = await services.read(lambda connection: approvals_behind(connection, services.workspace, behind, limit + 1, only_open=only_open))
    return page("approvals", found, limit)


@router.get("/runs/{run}/approval", response_model=ApprovalView, summary="What a run asks people")
async def show_approval(run: str, services: Serving, step: Step = None, index: Index = None) -> Response:
    """With the evidence. `last` is the last run that waits for an answer."""
    return answer(await _approval(services, run, step, tuple(index or ())))


@router.post("/runs/{run}/approval", response_model=ApprovalView, openapi_extra=body_of(DecisionRequest), summary="Approve or reject")
async def decide_approval(run: str, request: Request, services: Serving, step: Step = None, index: Index = None) -> Response:
    """For those whom the approval names, themselves or their group, and admins; operators, where it names nobody. The same answer of the
    same person again changes nothing; another one is refused."""
    asked = await read_body(request, DecisionRequest)
    view = await _approval(services, run, step, tuple(index or ()))
    if not may_decide(services.principal, view.approvers):
        whom = " or ".join(view.approvers) or "operators"
        raise NotAllowed(403, f"{view.address} of {view.run_name} is for {whom} to decide, and {services.principal.name} is not among them")
    by = services.principal.name
    return answer(await services.write(lambda connection: decide(connection, services.workspace, view, asked, by=by, now=now())))


async def _approval(services: Services, run: str, step: str | None, index: tuple[int, ...]) -> ApprovalView:
    if run != LAST:
        await services.read(lambda connection: services.row(connection, run))
    try:
        return await services.read(lambda connection: approval(connection, services.workspace, run, step, index))
    except InvalidInput as error:
        raise NotFound(str(error)) from error
