"""Errors as answers: problem documents (RFC 9457) that say what was wrong, where and what to do, and nothing of other people's data."""

import secrets
import traceback
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

from penstock.contracts.errors import (
    ArtifactLost,
    BusUnavailable,
    ContractError,
    DatastoreUnavailable,
    GraphError,
    InvalidInput,
    PenstockError,
    StateTooNew,
    StoreUnavailable,
    UnknownVersion,
)
from penstock.engine.access.kept_answers import StillBusy

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.api")

MEDIA_TYPE = "application/problem+json"
_RETRY_SECONDS = "1"


PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was wrong, where, and what to do"},
        "code": {"type": "string", "description": "The kind of error, for programs"},
    },
}
_DOCUMENTED = {"description": "A problem", "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}}}
DOCUMENTED: dict[int | str, dict[str, Any]] = {"4XX": _DOCUMENTED, "5XX": _DOCUMENTED, 422: _DOCUMENTED}
"""What OpenAPI says of every route's refusals."""


class NotFound(InvalidInput):
    """What was named does not exist."""


class NotAllowed(ContractError):
    """Refused before anything was looked at; `status` says how."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


_STATUS: dict[type[PenstockError], int] = {
    NotFound: 404,
    StillBusy: 409,
    ArtifactLost: 404,
    UnknownVersion: 409,
    GraphError: 422,
    InvalidInput: 422,
    ContractError: 422,
    StateTooNew: 503,
    StoreUnavailable: 503,
    DatastoreUnavailable: 503,
    BusUnavailable: 503,
}


def problem(status: int, code: str, detail: str, **more: Any) -> JSONResponse:
    """The answer; `code` names the kind of error for programs."""
    title = {400: "Bad request", 401: "Not authorised", 403: "Forbidden", 404: "Not found", 413: "Too large", 503: "Not available now"}
    body = {"type": f"urn:penstock:problem:{code}", "title": title.get(status, "Refused"), "status": status, "detail": detail, "code": code}
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": _RETRY_SECONDS}}.get(status)
    return JSONResponse({**body, **more}, status, headers, media_type=MEDIA_TYPE)


def answer_to(error: PenstockError) -> JSONResponse:
    """The problem that an error is."""
    if isinstance(error, NotAllowed):
        return problem(error.status, "NotAllowed", str(error))
    known = next((kind for kind in type(error).__mro__ if kind in _STATUS), None)
    if known is None:
        return problem(500, "PenstockError", str(error))
    code = InvalidInput.__name__ if known is NotFound else known.__name__
    lost = {"digest": error.digest} if isinstance(error, ArtifactLost) else {}
    return problem(_STATUS[known], code, str(error), **lost)


def install(app: FastAPI) -> None:
    """Has every error of the app answered so."""
    app.add_exception_handler(PenstockError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_a_request)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_nobody)


def unexpected(error: Exception) -> JSONResponse:
    """For what nobody foresaw: the log has it under the number that the answer names."""
    number = secrets.token_hex(6)
    # As text: structlog shows the local variables of frames that it is given, and secrets are among them.
    log.error("request.failed", number=number, exception="".join(traceback.format_exception(error)))
    return problem(500, "InternalError", f"an internal error, number {number} in the API's log; nothing was changed by halves")


async def _of_nobody(_request: Request, error: Exception) -> JSONResponse:
    return unexpected(error)


async def _of_ours(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PenstockError)  # noqa: S101 - installed for these
    return answer_to(error)


async def _of_a_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - installed for these
    first = error.errors()[0]
    place = " ".join(str(part) for part in first["loc"]) or "the request"
    return problem(422, InvalidInput.__name__, f"{place}: {first['msg']}")


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - installed for these
    detail = f"there is no {request.method} {request.url.path[:200]} here" if error.status_code in (404, 405) else error.detail
    answer = problem(error.status_code, "NotAllowed", detail)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = ", ".join(_methods_of(request))
    return answer


def _methods_of(request: Request) -> list[str]:
    """What may be asked of the address. The router names those of the first route alone that has it."""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.path_regex.match(request.url.path):
            found |= route.methods or set()
    return sorted(found)
