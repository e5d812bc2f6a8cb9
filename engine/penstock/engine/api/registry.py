"""Named artifacts over HTTP: versions, and aliases that move."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from sqlalchemy import Connection

from penstock.contracts.artifacts import Value
from penstock.contracts.errors import InvalidInput
from penstock.contracts.named_artifacts import AliasRequest, ArtifactVersionView, RegisterRequest, reference
from penstock.engine.api.pages import PAGE, Cursor, Limit, page, place_of
from penstock.engine.api.problems import NotFound
from penstock.engine.api.services import Services, Serving, answer, answer_all, body_of, now, read_body
from penstock.engine.people.named_artifacts import (
    NEWEST,
    UnknownArtifact,
    add_version,
    drop_alias,
    names,
    set_alias,
    stored_artifact,
    version,
    version_with_digest,
    versions,
)
from penstock.engine.queries import step_run_views

router = APIRouter(tags=["named artifacts"])
Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="As it was registered.")]
Alias = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="Another name for a version.")]
Which = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="A version, or an alias.")]
_SEARCHED = 100_000


@router.get("/named-artifacts", summary="Named artifacts, by name")
async def list_names(services: Serving) -> Response:
    return answer_all("artifacts", await services.read(lambda connection: names(connection, services.workspace)))


@router.get("/named-artifacts/{name}/versions", summary="Its versions, the newest first")
async def list_versions(name: Name, services: Serving, limit: Limit = PAGE, cursor: Cursor = None) -> Response:
    """`next` is the cursor of the following page, null on the last one."""
    place = place_of(cursor, int)
    before = place[0] if place is not None else NEWEST
    try:
        found = await services.read(lambda connection: versions(connection, services.workspace, name, limit + 1, before))
    except UnknownArtifact as error:
        raise NotFound(str(error)) from error
    return page("versions", [((view.version,), view) for view in found], limit)


@router.get("/named-artifacts/{name}/versions/{which}", response_model=ArtifactVersionView, summary="One version")
async def show_version(name: Name, which: Which, services: Serving) -> Response:
    wanted = reference(f"{name}@{which}")
    try:
        return answer(await services.read(lambda connection: version(connection, services.workspace, wanted)))
    except UnknownArtifact as error:
        raise NotFound(str(error)) from error


@router.post(
    "/named-artifacts/{name}/versions",
    status_code=201,
    response_model=ArtifactVersionView,
    openapi_extra=body_of(RegisterRequest),
    summary="Register a version by hand",
)
async def register(name: Name, request: Request, services: Serving) -> Response:
    """Of what a step of a run gave, of stored bytes by their digest, or of another named version. What the newest version is already
    becomes no other (200); by a digest, what any version is."""
    asked = await read_body(request, RegisterRequest)
    began, by = now(), services.principal.name

    def function(connection: Connection) -> ArtifactVersionView:
        if asked.of is not None and (known := version_with_digest(connection, services.workspace, name, asked.of)) is not None:
            if asked.alias is None:
                return known
            return set_alias(connection, services.workspace, name, asked.alias, known.version, by=by, now=began)
        value = _value(connection, services, asked)
        return add_version(connection, services.workspace, name, value, alias=asked.alias, by=by, now=began)

    view = await services.write(function)
    return answer(view, 201 if view.made_at >= began else 200)


def _value(connection: Connection, services: Services, asked: RegisterRequest) -> Value:
    if (asked.of is None) == (asked.run is None or asked.step is None):
        raise InvalidInput("either of (a digest, or a reference as churn@3), or run and step")
    if asked.of is not None and asked.of.startswith("sha256:"):
        return stored_artifact(connection, services.workspace, asked.of)
    if asked.of is not None:
        return version(connection, services.workspace, reference(asked.of)).value
    row = services.row(connection, asked.run or "")
    views = step_run_views(connection, row, asked.step, _SEARCHED if asked.index else 1, now())
    view = next((view for view in views if view.index == asked.index), None)
    address = "/".join([asked.step or "", *map(str, asked.index)])
    if view is None or asked.output not in view.outputs:
        raise InvalidInput(f"the run {row[3]} has no output {asked.output!r} of {address}")
    return view.outputs[asked.output]


@router.put(
    "/named-artifacts/{name}/aliases/{alias}",
    response_model=ArtifactVersionView,
    openapi_extra=body_of(AliasRequest),
    summary="Have an alias mean a version",
)
async def move_alias(name: Name, alias: Alias, request: Request, services: Serving) -> Response:
    """Runs that start from now on take that version; those that have started keep theirs."""
    asked = await read_body(request, AliasRequest)
    by = services.principal.name
    try:
        return answer(
            await services.write(lambda connection: set_alias(connection, services.workspace, name, alias, asked.version, by=by, now=now()))
        )
    except UnknownArtifact as error:
        raise NotFound(str(error)) from error


@router.delete("/named-artifacts/{name}/aliases/{alias}", status_code=204, summary="Have an alias mean nothing")
async def remove_alias(name: Name, alias: Alias, services: Serving) -> Response:
    """The versions stay."""
    try:
        await services.write(lambda connection: drop_alias(connection, services.workspace, name, alias))
    except UnknownArtifact as error:
        raise NotFound(str(error)) from error
    return Response(status_code=204)
