"""Who may do what, over HTTP: oneself, tokens, members, workspaces, and what everybody asked for."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from penstock.contracts.access import EVERYWHERE, GROUP_PREFIX, Role
from penstock.contracts.access_views import AuditEntry, Me, MemberView, NewTokenView, TokenView, WorkspaceView
from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import Text
from penstock.contracts.names import checked_name
from penstock.engine.access.audit import entries, first_wrong_entry
from penstock.engine.access.grants import (
    keep_token,
    make_workspace,
    members_of,
    put_member,
    remove_member,
    revoke_token,
    tokens_of,
    workspace_names,
)
from penstock.engine.access.tokens import PREFIX, make_token_text
from penstock.engine.api.authentication import Authenticator
from penstock.engine.api.callers import is_name_of_person
from penstock.engine.api.permissions import SCOPES, may_by_scope
from penstock.engine.api.problems import NotAllowed, NotFound
from penstock.engine.api.services import Services, Serving, answer, body_of, now, read_body

router = APIRouter(tags=["access"])

LONGEST_DAYS = 3650
_DAY_MICROSECONDS = 86_400_000_000
Subject = Annotated[str, Path(min_length=1, max_length=255, pattern=r"^[!-~][ -~]*$", description="Of a person, or `group:<name>`.")]
Name = Annotated[Text, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")]
Everywhere = Annotated[bool, Query(description="In all workspaces; takes an admin of all.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TokenRequest(_Body):
    """A token that is asked for. `days` None: it ends when it is revoked."""

    name: Name
    role: Role = Role.VIEWER
    scopes: Annotated[tuple[str, ...], Field(max_length=50)] = ()
    days: Annotated[float, Field(gt=0, le=LONGEST_DAYS)] | None = None

    @model_validator(mode="after")
    def _known(self) -> "TokenRequest":
        if self.name.startswith(PREFIX):
            raise ValueError(f"a token's name is told to many, and can't begin as tokens do ({PREFIX})")
        unknown = sorted(set(self.scopes) - set(SCOPES))
        if unknown:
            raise ValueError(f"there is no scope {unknown[0][:60]!r} (there are: {', '.join(SCOPES)})")
        return self


class MemberRequest(_Body):
    role: Role


class WorkspaceRequest(_Body):
    name: Annotated[Text, Field(max_length=63)]


class Tokens(BaseModel):
    tokens: tuple[TokenView, ...]


class Members(BaseModel):
    members: tuple[MemberView, ...]


class Workspaces(BaseModel):
    workspaces: tuple[WorkspaceView, ...]


class Audit(BaseModel):
    """`next`: ask for what is before that number; None: there is nothing."""

    entries: tuple[AuditEntry, ...]
    next: int | None


class AuditCheck(BaseModel):
    """`first_wrong`: the number of the first entry that was changed, or that one is missing before; None: there is none."""

    first_wrong: int | None


@router.get("/me", summary="Who the services take you for")
async def show_me(services: Serving) -> Me:
    caller = services.caller
    return Me(
        name=caller.name,
        kind=caller.kind,
        groups=caller.groups,
        scopes=caller.scopes,
        workspace=services.workspace or None,
        workspaces=await _workspaces(services),
    )


@router.get("/workspaces", summary="The workspaces that you may be in")
async def list_workspaces(services: Serving) -> Workspaces:
    return Workspaces(workspaces=await _workspaces(services))


async def _workspaces(services: Services) -> tuple[WorkspaceView, ...]:
    names = {services.settings.workspace, *await services.read(workspace_names)}
    roles = ((name, services.caller.role_in(name)) for name in sorted(names))
    return tuple(WorkspaceView(name=name, role=role) for name, role in roles if role is not None)


@router.post(
    "/workspaces", status_code=201, response_model=WorkspaceView, openapi_extra=body_of(WorkspaceRequest), summary="Make a workspace"
)
async def create_workspace(request: Request, services: Serving) -> Response:
    """Again is harmless (200)."""
    name = checked_name((await read_body(request, WorkspaceRequest)).name, "the workspace")
    is_new = await services.write(lambda connection: make_workspace(connection, name, services.principal.name, now()))
    _changed(request)
    return answer(WorkspaceView(name=name, role=services.principal.role), 201 if is_new else 200)


@router.get("/members", summary="Who may do what in the workspace")
async def list_members(services: Serving) -> Members:
    """Those with a role in all workspaces are among them."""

    return Members(
        members=tuple(
            await services.read(lambda connection: [*members_of(connection, EVERYWHERE), *members_of(connection, services.workspace)])
        )
    )


@router.put("/members/{subject}", status_code=204, openapi_extra=body_of(MemberRequest), summary="Give somebody a role")
async def set_member(subject: Subject, request: Request, services: Serving, everywhere: Everywhere = False) -> Response:
    """In place of the one they have."""
    role = (await read_body(request, MemberRequest)).role
    if not is_name_of_person(subject.removeprefix(GROUP_PREFIX)):
        raise InvalidInput(f"nobody can be called {subject[:80]!r}")
    of = _place(services, is_everywhere=everywhere)
    await services.write(lambda connection: put_member(connection, of, subject, role, now()))
    _changed(request)
    return Response(status_code=204)


@router.delete("/members/{subject}", status_code=204, summary="Take somebody's role away")
async def delete_member(subject: Subject, request: Request, services: Serving, everywhere: Everywhere = False) -> Response:
    """Their tokens end with it."""
    of = _place(services, is_everywhere=everywhere)
    if not await services.write(lambda connection: remove_member(connection, of, subject, now())):
        raise NotFound(f"{subject[:80]!r} is no member of the workspace {of}")
    _changed(request)
    return Response(status_code=204)


def _place(services: Services, *, is_everywhere: bool) -> str:
    """:raises NotAllowed: it takes an admin of all workspaces."""
    if is_everywhere and not services.principal.is_everywhere:
        raise NotAllowed(403, "roles in all workspaces are given by an admin of all workspaces")
    return EVERYWHERE if is_everywhere else services.workspace


@router.get("/tokens", summary="The tokens of the workspace")
async def list_tokens(services: Serving, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Tokens:
    """Of all for an admin, else your own. The tokens themselves are nowhere."""
    found = await services.read(lambda connection: tokens_of(connection, services.workspace, _owner(services), limit))
    return Tokens(tokens=tuple(found))


@router.post("/tokens", status_code=201, response_model=NewTokenView, openapi_extra=body_of(TokenRequest), summary="Make a token")
async def create_token(request: Request, services: Serving) -> Response:
    """It may do no more than who asks for it. The answer is the only place where it can be read."""
    asked = await read_body(request, TokenRequest)
    _check_grant(services, asked)
    made = make_token_text()
    at = now()
    view = TokenView(
        token_id=made.token_id,
        name=asked.name,
        owner=services.principal.name,
        role=asked.role,
        scopes=asked.scopes,
        made_at=at,
        expires_at=at + int(asked.days * _DAY_MICROSECONDS) if asked.days is not None else None,
    )
    await services.write(lambda connection: keep_token(connection, services.workspace, view, made.digest))
    _changed(request)
    return answer(NewTokenView(**view.model_dump(), token=made.text), 201, {"Cache-Control": "no-store"})


def _check_grant(services: Services, asked: TokenRequest) -> None:
    """:raises NotAllowed: whoever asks would have it do more than they may."""
    principal, caller = services.principal, services.caller
    if caller.kind == "token" and principal.role is not Role.ADMIN:
        raise NotAllowed(403, "only a token with the role admin may make tokens; log in, and make one as yourself")
    if not principal.role.includes(asked.role):
        raise NotAllowed(
            403, f"{principal.name} is {principal.role.value} in {services.workspace}, and can't make a token for {asked.role.value}"
        )
    wanted = asked.scopes or SCOPES
    if caller.scopes and not all(_covers(caller.scopes, scope) for scope in wanted):
        raise NotAllowed(403, f"the token is limited to {', '.join(caller.scopes)}, and so are those that it makes: name scopes among them")


def _covers(scopes: tuple[str, ...], wanted: str) -> bool:
    area, _, reading = wanted.partition(":")
    return may_by_scope(scopes, area, is_reading=bool(reading))


@router.delete("/tokens/{token_id}", status_code=204, summary="Revoke a token")
async def delete_token(token_id: Annotated[str, Path(max_length=26)], request: Request, services: Serving) -> Response:
    """It ends here at once, and within 5 seconds wherever else the API is served."""
    owner = _owner(services)
    if not await services.write(lambda connection: revoke_token(connection, services.workspace, token_id, owner, now())):
        raise NotFound("there is no valid token of that id here")
    _changed(request)
    return Response(status_code=204)


def _owner(services: Services) -> str | None:
    """Whose tokens they may see and end; None: everybody's."""
    return None if services.principal.role is Role.ADMIN else services.principal.name


@router.get("/audit", summary="What was asked for, and refused")
async def list_audit(
    services: Serving,
    before: Annotated[int, Query(ge=1, le=2**62)] = 2**62,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Audit:
    """The newest first. What changes something is written down before it is done; what was refused, once in a few seconds."""
    found = await services.read(lambda connection: entries(connection, services.workspace, before, limit))
    return Audit(entries=tuple(found), next=found[-1].number if len(found) == limit and found[-1].number > 1 else None)


@router.get("/audit/check", summary="Whether the log is as it was written")
async def check_audit(services: Serving) -> AuditCheck:
    """Reads all of it: of each entry its number, and its digest over itself and the one before."""
    return AuditCheck(first_wrong=await services.read(lambda connection: first_wrong_entry(connection, services.workspace)))


def _changed(request: Request) -> None:
    authenticator: Authenticator = request.app.state.authenticator
    authenticator.forget()
