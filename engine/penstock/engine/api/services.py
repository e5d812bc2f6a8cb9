"""What the routers work with: the ports, who asks, and how requests are read and answers written."""

import json
import math
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection

from penstock.contracts.access import LOCAL, Principal
from penstock.contracts.errors import ContractError, InvalidInput
from penstock.engine.api.callers import LOCAL_CALLER, Caller
from penstock.engine.api.live_logs import LiveLogs
from penstock.engine.api.permissions import Permitted
from penstock.engine.api.problems import NotAllowed, NotFound
from penstock.engine.api.settings import ApiSettings
from penstock.engine.fleet import Fleet
from penstock.engine.queries import find_run
from penstock.engine.store import Store
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.bus import Bus
from penstock.transport.datastore import Datastores

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
Row = tuple[Any, ...]
_NO_TEXT = ("22021", "22P05")
"""What PostgreSQL calls text with a NUL, plain and in JSON."""


DeclareQueue = Callable[[str, str], Awaitable[str]]
"""Makes the queue of a pool of a workspace, or says what somebody else has to do."""


async def queues_need_no_declaring(_workspace: str, _pool: str) -> str:
    """On a bus whose queues come to be when they are needed."""
    return ""


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The ports of one API process."""

    store: Store
    bus: Bus
    artifacts: ArtifactStore
    settings: ApiSettings
    declare: DeclareQueue
    fleet: Fleet
    live_logs: LiveLogs
    principal: Principal = LOCAL
    """Who asks."""
    caller: Caller = LOCAL_CALLER
    """The same, in whatever workspace."""
    datastores: Datastores | None = None
    """From which URIs among parameters are read; None: from none."""

    @property
    def workspace(self) -> str:
        """Where it is to be done: of each request its own."""
        return self.principal.workspace

    async def read(self, function: Callable[[Connection], T]) -> T:
        with _text_is_kept():
            return await self.store.read(function)

    async def write(self, function: Callable[[Connection], T]) -> T:
        with _text_is_kept():
            return await self.store.transaction(function)

    def row(self, connection: Connection, run: str) -> Row:
        """The row of the run that people call `run`.

        :raises NotFound: there is none.
        """
        if len(run) > 255 or not run.isprintable():
            raise NotFound("there is no run of that name")
        try:
            return find_run(connection, self.workspace, run)
        except InvalidInput as error:
            raise NotFound(str(error)) from error


@contextmanager
def _text_is_kept() -> Generator[None]:
    """:raises InvalidInput: in place of what a database says of text that it can't keep."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and getattr(cause, "sqlstate", None) not in _NO_TEXT:
            cause = cause.__cause__
        if cause is None:
            raise
        raise InvalidInput("a text of the request has a NUL, or half a character, which no database keeps") from error


def _services(request: Request, principal: Permitted) -> Services:
    """Those of this request: as whoever sends it, in their workspace."""
    found: Services = request.app.state.services
    return replace(found, principal=principal, caller=request.scope["penstock.caller"])


Serving = Annotated[Services, Depends(_services)]


async def read_body(request: Request, model: type[M]) -> M:
    """The body as `model`, which forbids unknown fields.

    :raises InvalidInput: it is no such JSON; the text says where.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise NotAllowed(415, f"the body must be application/json, not {kind[:80]!r}")
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise InvalidInput(f"{place}: {first['msg'].removeprefix('Value error, ')}") from error
    except RecursionError as error:
        raise ContractError("the body is nested too deeply") from error


BODY_PARTS: dict[str, Any] = {}
"""Schemas that those of bodies refer to, for OpenAPI."""


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of a body that `read_body` reads."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    BODY_PARTS.update(schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def answer(value: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A view as JSON."""
    return Response(_json(value.model_dump(mode="json")), status, headers, media_type="application/json")


def answer_all(name: str, values: Sequence[BaseModel]) -> Response:
    """Views as JSON, under a name."""
    return json_answer({name: [value.model_dump(mode="json") for value in values]})


def json_answer(data: Any, status: int = 200) -> Response:
    """Plain data as JSON."""
    return Response(_json(data), status, media_type="application/json")


def _json(data: Any) -> bytes:
    try:
        return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        return json.dumps(_finite(data), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _finite(data: Any) -> Any:
    """JSON has no NaN; a metric that is one travels as text, which readers of numbers understand."""
    match data:
        case float() if not math.isfinite(data):
            return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(data, "NaN")
        case {**parts}:
            return {key: _finite(value) for key, value in parts.items()}
        case [*items]:
            return [_finite(item) for item in items]
        case _:
            return data
