"""What each route needs: one table, and the one place where it is looked at. A route that is not in the table is refused to everybody.

Every new route has its line here. An area is also a scope of tokens: `runs` is all of it, `runs:read` only what changes nothing.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import structlog
from fastapi import Depends, Request

from penstock.contracts.access import EVERYWHERE, Principal, Role
from penstock.contracts.messages import clean_text
from penstock.engine.access.audit import Deed
from penstock.engine.api.authentication import Authenticator
from penstock.engine.api.callers import WORKSPACE_HEADER, Caller
from penstock.engine.api.problems import NotAllowed, NotFound
from penstock.engine.api.repeats import check_repeat

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.api")


class Wide(StrEnum):
    """What no role in a workspace says."""

    ANYBODY = "anybody"
    """Whoever is known, in whatever workspace or none."""
    EVERYWHERE = "everywhere"
    """An admin of all workspaces."""


Need = Role | Wide
_VIEWER, _OPERATOR, _AUTHOR, _ADMIN = Role.VIEWER, Role.OPERATOR, Role.AUTHOR, Role.ADMIN

PERMISSIONS: Mapping[str, Mapping[str, Need]] = {
    "runs": {
        # New code takes an author besides: the route looks at that.
        "POST /runs": _OPERATOR,
        "GET /runs": _VIEWER,
        "GET /runs/{run}": _VIEWER,
        "GET /runs/{run}/spec": _VIEWER,
        "GET /runs/{run}/steps": _VIEWER,
        "GET /runs/{run}/why": _VIEWER,
        "GET /runs/{run}/logs": _VIEWER,
        "GET /runs/{run}/logs/stream": _VIEWER,
        "GET /runs/{run}/timeline": _VIEWER,
        "GET /runs/{run}/timeline/stream": _VIEWER,
        "GET /runs/{run}/metrics": _VIEWER,
        "POST /runs/{run}/cancel": _OPERATOR,
        "POST /runs/{run}/resume": _OPERATOR,
        "DELETE /runs/{run}": _OPERATOR,
    },
    "artifacts": {
        "POST /missing-artifacts": _VIEWER,
        "PUT /artifacts/{digest}": _OPERATOR,
        "GET /artifacts/{digest}": _VIEWER,
        "GET /artifacts/{digest}/lineage": _VIEWER,
        "POST /artifacts/{digest}/link": _VIEWER,
    },
    # Whom an approval names may answer it, whatever their role: the route looks at that.
    "approvals": {"GET /approvals": _VIEWER, "GET /runs/{run}/approval": _VIEWER, "POST /runs/{run}/approval": _VIEWER},
    "named-artifacts": {
        "GET /named-artifacts": _VIEWER,
        "GET /named-artifacts/{name}/versions": _VIEWER,
        "GET /named-artifacts/{name}/versions/{which}": _VIEWER,
        "POST /named-artifacts/{name}/versions": _OPERATOR,
        "PUT /named-artifacts/{name}/aliases/{alias}": _OPERATOR,
        "DELETE /named-artifacts/{name}/aliases/{alias}": _OPERATOR,
    },
    "cache": {"GET /cache": _VIEWER, "DELETE /cache": _OPERATOR},
    "pipelines": {
        "GET /pipelines": _VIEWER,
        "GET /pipelines/{name}": _VIEWER,
        "GET /pipelines/{name}/versions": _VIEWER,
        "GET /pipelines/{name}/versions/{version}": _VIEWER,
        "POST /pipelines/{name}/runs": _OPERATOR,
        "POST /pipelines/{name}/versions": _AUTHOR,
        "PUT /pipelines/{name}/default": _AUTHOR,
        "PUT /pipelines/{name}/aliases/{alias}": _AUTHOR,
        "DELETE /pipelines/{name}/aliases/{alias}": _AUTHOR,
        "POST /pipelines/{name}/versions/{version}/deprecate": _AUTHOR,
        "POST /pipelines/{name}/versions/{version}/disable": _AUTHOR,
        "POST /pipelines/{name}/versions/{version}/activate": _AUTHOR,
    },
    "components": {
        "GET /components": _VIEWER,
        "GET /components/{name}": _VIEWER,
        "GET /components/{name}/versions": _VIEWER,
        "GET /components/{name}/versions/{version}": _VIEWER,
        "POST /components/{name}/versions": _AUTHOR,
        "PUT /components/{name}/default": _AUTHOR,
        "PUT /components/{name}/aliases/{alias}": _AUTHOR,
        "DELETE /components/{name}/aliases/{alias}": _AUTHOR,
        "POST /components/{name}/versions/{version}/deprecate": _AUTHOR,
        "POST /components/{name}/versions/{version}/disable": _AUTHOR,
        "POST /components/{name}/versions/{version}/activate": _AUTHOR,
    },
    # Whoever may emit may start what triggers start: a token for an upstream system has this scope only.
    "events": {
        "POST /events": _OPERATOR,
        "POST /events/s3": _OPERATOR,
        "POST /events/plain/{mapping}": _OPERATOR,
        "GET /events": _VIEWER,
        "GET /events/held": _VIEWER,
        "GET /events/{event_no}": _VIEWER,
        "POST /events/{event_no}/replay": _OPERATOR,
        "POST /events/{event_no}/retry": _OPERATOR,
        "GET /events/mappings": _VIEWER,
        "PUT /events/mappings/{name}": _AUTHOR,
        "DELETE /events/mappings/{name}": _AUTHOR,
        "GET /events/refused": _OPERATOR,
        "POST /events/refused/{refusal_no}/retry": _OPERATOR,
        "DELETE /events/refused/{refusal_no}": _OPERATOR,
    },
    "triggers": {
        "GET /triggers": _VIEWER,
        "GET /triggers/{name}": _VIEWER,
        "PUT /triggers/{name}": _AUTHOR,
        "DELETE /triggers/{name}": _AUTHOR,
        "POST /triggers/{name}/pause": _OPERATOR,
        "POST /triggers/{name}/resume": _OPERATOR,
        "POST /triggers/{name}/existing": _OPERATOR,
        # A dry run keeps nothing.
        "POST /triggers/{name}/test": _VIEWER,
        "GET /triggers/{name}/decisions": _VIEWER,
        "GET /triggers/{name}/held": _VIEWER,
    },
    # URLs of webhooks may hold tokens of their receivers; a new one sends what happens here elsewhere.
    "subscriptions": {
        "GET /subscriptions": _OPERATOR,
        "POST /subscriptions": _AUTHOR,
        "GET /subscriptions/{name}": _OPERATOR,
        "DELETE /subscriptions/{name}": _AUTHOR,
        "POST /subscriptions/{name}/pause": _OPERATOR,
        "POST /subscriptions/{name}/resume": _OPERATOR,
        "POST /subscriptions/{name}/rotate": _AUTHOR,
        "POST /subscriptions/{name}/test": _OPERATOR,
        "GET /subscriptions/{name}/deliveries": _OPERATOR,
        "POST /subscriptions/{name}/deliveries/retry": _OPERATOR,
        "POST /subscriptions/{name}/deliveries/{delivery}/retry": _OPERATOR,
    },
    "pools": {
        "GET /pools": _VIEWER,
        "GET /pools/{name}": _VIEWER,
        "PUT /pools/{name}": _OPERATOR,
        "DELETE /pools/{name}": _OPERATOR,
        "POST /pools/{name}/drain": _OPERATOR,
        "POST /pools/{name}/scale": _OPERATOR,
    },
    "status": {"GET /runners": _VIEWER, "GET /status": _VIEWER, "GET /health": Wide.ANYBODY},
    "access": {
        "GET /me": Wide.ANYBODY,
        "GET /workspaces": Wide.ANYBODY,
        "POST /workspaces": Wide.EVERYWHERE,
        "GET /members": _VIEWER,
        "PUT /members/{subject}": _ADMIN,
        "DELETE /members/{subject}": _ADMIN,
        # Whoever has a role may make tokens that may do as much, and no more: the routes look at that.
        "GET /tokens": _VIEWER,
        "POST /tokens": _VIEWER,
        "DELETE /tokens/{token_id}": _VIEWER,
        "GET /audit": _ADMIN,
        "GET /audit/check": _ADMIN,
    },
}
READING = frozenset({"GET", "HEAD"})
NEVER_SCOPED = frozenset({"GET /me"})
"""Any token may ask what it is."""
UNAUDITED = frozenset(
    {
        *("POST /missing-artifacts", "PUT /artifacts/{digest}", "POST /triggers/{name}/test"),
        *("POST /events", "POST /events/s3", "POST /events/plain/{mapping}"),
    }
)
"""What changes nothing, or nothing that is not told of elsewhere, and comes too often to be told twice."""
_AREAS = {route: (area, need) for area, routes in PERMISSIONS.items() for route, need in routes.items()}
SCOPES = tuple(sorted({scope for area in PERMISSIONS for scope in (area, f"{area}:read")}))


async def permitted(request: Request) -> Principal:
    """As whom the request may be done: the dependency of every route.

    :raises NotAllowed: it may not, or nobody has said who may.
    :raises NotFound: the workspace is none of theirs.
    """
    caller: Caller = request.scope["penstock.caller"]
    authenticator: Authenticator = request.app.state.authenticator
    route = f"{request.method} {route_path(request)}"
    area, need = _AREAS.get(route, (None, None))
    if area is None or need is None:
        raise NotAllowed(403, f"nobody may {route}: it has no line in the table of permissions")
    if need is Wide.ANYBODY and not caller.roles:
        return Principal(name=caller.name, workspace="", groups=caller.groups)
    workspace = await _workspace(request, caller, authenticator, need)
    principal = caller.principal(workspace)
    reason = _refusal(caller, principal, route, area, need)
    is_changing = request.method not in READING and route not in UNAUDITED
    if reason or is_changing:
        outcome = "denied" if reason else "allowed"
        deed = Deed(principal=principal.name, action=route, subject=clean_text(request.scope["path"]), outcome=outcome)
        await authenticator.record(workspace, deed)
    if reason:
        raise NotAllowed(403, reason)
    await check_repeat(request, route, principal, authenticator.store)
    return principal


Permitted = Annotated[Principal, Depends(permitted)]


def route_path(request: Request) -> str:
    """The route as the table names it."""
    return str(request.scope["route"].path_format).removeprefix("/v1")


def named_workspace(request: Request) -> str | None:
    """The workspace that a request names."""
    return request.headers.get(WORKSPACE_HEADER) or request.query_params.get("workspace") or None


async def _workspace(request: Request, caller: Caller, authenticator: Authenticator, need: Need) -> str:
    named = named_workspace(request)
    default = authenticator.default_workspace
    if named is None and isinstance(need, Wide) and caller.role_in(default) is None:
        return next(iter(caller.roles))
    workspace = caller.chosen(named, default)
    if workspace == EVERYWHERE or not await authenticator.has_workspace(workspace):
        raise NotFound(f"there is no workspace {workspace[:63]!r}, or you are no member of it")
    return workspace


def _refusal(caller: Caller, principal: Principal, route: str, area: str, need: Need) -> str:
    """Why they may not; empty: they may."""
    if need is Wide.EVERYWHERE and not principal.is_everywhere:
        return f"{route} takes an admin of all workspaces, and {principal.name} is none"
    if isinstance(need, Role) and not principal.role.includes(need):
        return f"{route} takes the role {need.value} in the workspace {principal.workspace}; {principal.name} is {principal.role.value}"
    if caller.scopes and route not in NEVER_SCOPED and not may_by_scope(caller.scopes, area, is_reading=route.startswith("GET ")):
        return f"{route} takes the scope {area}, and the token has {', '.join(caller.scopes)} only"
    return ""


def may_by_scope(scopes: tuple[str, ...], area: str, *, is_reading: bool) -> bool:
    """Whether a token that is limited to these scopes may do something of that area."""
    return area in scopes or (is_reading and f"{area}:read" in scopes)
