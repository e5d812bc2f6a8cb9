"""What is published, over HTTP: pipelines and components have the same addresses for versions, aliases and the default."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Request, Response
from sqlalchemy import Connection

from penstock.contracts.encoding import canonical
from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import SubmitRun
from penstock.contracts.names import checked_name, dashed
from penstock.contracts.publishing import (
    PublishedVersion,
    PublishedView,
    StateRequest,
    VersionRequest,
    VersionState,
    VersionView,
)
from penstock.contracts.spec import decode_spec
from penstock.engine.api.admission import admitted
from penstock.engine.api.pages import PAGE, Cursor, Limit, page, place_of
from penstock.engine.api.problems import NotFound
from penstock.engine.api.services import Services, Serving, answer, body_of, now, read_body
from penstock.engine.published.publishing import remove_alias, set_alias, set_default, set_state
from penstock.engine.published.versions import (
    Family,
    NotPublished,
    Resolved,
    Shelf,
    published_view,
    published_views,
    spec_bytes,
    version_of,
    version_view,
    version_views,
)

T = TypeVar("T")

_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
VERSION = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
PublishedName = Annotated[str, Path(pattern=_NAME, description="As it was published.")]
VersionName = Annotated[str, Path(pattern=VERSION, description="A version, or an alias.")]
AliasName = Annotated[str, Path(pattern=VERSION, description="Another name for a version.")]
_STATES: dict[str, tuple[VersionState, str]] = {
    "deprecate": ("deprecated", "Have its runs carry a warning"),
    "disable": ("disabled", "Have it make no new runs"),
    "activate": ("active", "Take a deprecation or disabling back"),
}


async def changed(services: Services, function: Callable[[Connection], T]) -> T:
    """What a transaction gives; what it does not find is said to be missing."""
    try:
        return await services.write(function)
    except NotPublished as error:
        raise NotFound(str(error)) from error


async def looked_up(services: Services, function: Callable[[Connection], T]) -> T:
    """As `changed`, of what only reads."""
    try:
        return await services.read(function)
    except NotPublished as error:
        raise NotFound(str(error)) from error


async def check_spec(services: Services, name: str, plain: dict[str, object]) -> None:
    """Returns if the spec may be published under that name.

    :raises ContractError: it is malformed, or refers to what was not uploaded; or it is called otherwise.
    """
    data = canonical(plain)
    found = dashed(decode_spec(data).name)
    if found != checked_name(name, "the name"):
        raise InvalidInput(f"spec.name: the spec is that of {found!r}, the address of {name!r}")
    await admitted(services, SubmitRun(workspace=services.workspace, run_id="published", spec=data))


def answer_version(view: VersionView, began: int) -> Response:
    """201 for a version that is new since then."""
    return answer(view, 201 if view.published_at >= began else 200)


def add_routes(router: APIRouter, family: Family) -> None:
    """The addresses of a family, below `/pipelines` or `/components`."""
    _add_looks(router, family)
    _add_changes(router, family)
    for verb in _STATES:
        _add_state(router, family, verb)


def _add_looks(router: APIRouter, family: Family) -> None:
    @router.get(f"/{family}s", summary=f"Published {family}s, by name")
    async def list_published(services: Serving, cursor: Cursor = None, limit: Limit = PAGE) -> Response:
        (after,) = place_of(cursor, str) or ("",)
        found = await services.read(lambda c: published_views(c, services.workspace, family, after, limit + 1))
        return page(f"{family}s", [((view.name,), view) for view in found], limit)

    @router.get(f"/{family}s/{{name}}", response_model=PublishedView, summary=f"A published {family}")
    async def show_published(name: PublishedName, services: Serving) -> Response:
        return answer(await looked_up(services, lambda c: published_view(c, Shelf(services.workspace, family, name))))

    @router.get(f"/{family}s/{{name}}/versions", summary="Its versions, the newest first")
    async def list_versions(name: PublishedName, services: Serving, cursor: Cursor = None, limit: Limit = PAGE) -> Response:
        (before,) = place_of(cursor, int) or (None,)
        shelf = Shelf(services.workspace, family, name)
        found = await looked_up(services, lambda c: version_views(c, shelf, before, limit + 1))
        return page("versions", [((view.published_at,), view) for view in found], limit)

    @router.get(f"/{family}s/{{name}}/versions/{{version}}", response_model=PublishedVersion, summary="A version, with its spec")
    async def show_version(name: PublishedName, version: VersionName, services: Serving) -> Response:
        def function(connection: Connection) -> PublishedVersion:
            shelf = Shelf(services.workspace, family, name)
            return _whole(connection, shelf, version_of(connection, shelf, version))

        return answer(await looked_up(services, function))


def _whole(connection: Connection, shelf: Shelf, version: Resolved) -> PublishedVersion:
    spec = decode_spec(spec_bytes(connection, shelf.workspace, version.spec_digest))
    return PublishedVersion(
        **version_view(connection, shelf, version).model_dump(),
        spec={**spec.model_dump(mode="json", exclude_defaults=True), "spec": spec.spec},
        trigger_specs=version.triggers,
    )


def _add_changes(router: APIRouter, family: Family) -> None:
    version_body = body_of(VersionRequest)

    @router.put(f"/{family}s/{{name}}/default", response_model=VersionView, openapi_extra=version_body, summary="Set the default version")
    async def choose_default(name: PublishedName, request: Request, services: Serving) -> Response:
        """What names no version takes this one; the triggers that were published with it take over in the same transaction."""
        asked = await read_body(request, VersionRequest)
        shelf = Shelf(services.workspace, family, name)
        return answer(await changed(services, lambda c: set_default(c, shelf, asked.version, services.principal.name, now())))

    @router.put(
        f"/{family}s/{{name}}/aliases/{{alias}}", response_model=VersionView, openapi_extra=version_body, summary="Set or move an alias"
    )
    async def move_alias(name: PublishedName, alias: AliasName, request: Request, services: Serving) -> Response:
        asked = await read_body(request, VersionRequest)
        shelf = Shelf(services.workspace, family, name)
        return answer(await changed(services, lambda c: set_alias(c, shelf, alias, asked.version, now())))

    @router.delete(f"/{family}s/{{name}}/aliases/{{alias}}", status_code=204, summary="Forget an alias")
    async def forget_alias(name: PublishedName, alias: AliasName, services: Serving) -> Response:
        shelf = Shelf(services.workspace, family, name)
        await changed(services, lambda c: remove_alias(c, shelf, alias, now()))
        return Response(status_code=204)


def _add_state(router: APIRouter, family: Family, verb: str) -> None:
    state, summary = _STATES[verb]

    @router.post(
        f"/{family}s/{{name}}/versions/{{version}}/{verb}",
        response_model=VersionView,
        openapi_extra=body_of(StateRequest),
        summary=summary,
        name=f"{verb}_version",
    )
    async def change_state(name: PublishedName, version: VersionName, request: Request, services: Serving) -> Response:
        asked = await read_body(request, StateRequest)
        shelf = Shelf(services.workspace, family, name)
        return answer(await changed(services, lambda c: set_state(c, shelf, version, state, now(), asked.note)))
