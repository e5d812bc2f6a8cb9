"""Published pipelines over HTTP: versions, aliases, and runs of them."""

import hashlib
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from penstock.contracts.artifacts import INLINE_LIMIT, JSON, ArtifactRef, Value, inline_json
from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import Cause, RunIdText, SubmitRun, Text
from penstock.contracts.names import run_id_at
from penstock.contracts.publishing import PublishRequest, VersionView
from penstock.contracts.spec import PipelineSpec, decode_spec
from penstock.contracts.views import RunView
from penstock.engine.access.holdings import hold
from penstock.engine.api.holding import uploaded
from penstock.engine.api.published import (
    VERSION,
    PublishedName,
    add_routes,
    answer_version,
    changed,
    check_spec,
    looked_up,
)
from penstock.engine.api.services import Services, Serving, answer, body_of, now, read_body
from penstock.engine.api.submission import taken_in
from penstock.engine.published.pinning import pinned
from penstock.engine.published.plain_values import read_plain
from penstock.engine.published.publishing import publish, tags_of_run
from penstock.engine.published.versions import Resolved, resolve, spec_bytes
from penstock.engine.queries import find_run, run_view

router = APIRouter(tags=["pipelines"])
Version = Annotated[str | None, Query(pattern=VERSION, description="A version, or an alias; without it, the default.")]
Key = Annotated[str | None, Header(min_length=1, max_length=255, description="The same key again is the same run.")]


class PipelineRunRequest(BaseModel):
    """A run of a published pipeline. `parameters` is plain JSON, as the pipeline's types are; files are named as artifacts are."""

    model_config = ConfigDict(extra="forbid")

    parameters: dict[Text, Any] = {}
    name: Annotated[Text, Field(min_length=1, max_length=255)] | None = None
    tags: dict[Text, Text] = {}
    experiment: Annotated[Text, Field(max_length=255)] | None = None
    version: Annotated[str, Field(pattern=VERSION)] | None = None
    run_id: RunIdText | None = None


@router.post(
    "/pipelines/{name}/versions",
    status_code=201,
    response_model=VersionView,
    openapi_extra=body_of(PublishRequest),
    summary="Publish a version",
)
async def publish_version(name: PublishedName, request: Request, services: Serving) -> Response:
    """Versions never change: the same again is the same (200), another spec under a version is refused. With `makes_default`, its triggers
    take over from those of the default version before."""
    asked = await read_body(request, PublishRequest)
    await check_spec(services, name, asked.spec)
    began = now()
    view = await changed(services, lambda c: publish(c, services.workspace, asked, services.principal.name, began))
    return answer_version(view, began)


@router.post(
    "/pipelines/{name}/runs",
    status_code=201,
    response_model=RunView,
    openapi_extra=body_of(PipelineRunRequest),
    summary="Run the default version, or another",
)
async def run_published(
    name: PublishedName, request: Request, services: Serving, version: Version = None, idempotency_key: Key = None
) -> Response:
    """Durable when this answers. The same `Idempotency-Key` (or `run_id`) again is the same run (200), whatever the default is by then."""
    asked = await read_body(request, PipelineRunRequest)
    run_id = _run_id(services, name, asked.run_id, idempotency_key)
    known = await _known(services, run_id)
    if known is not None:
        return answer(known)
    wanted = version or asked.version
    reference = name if wanted is None else f"{name}@{wanted}"

    def look(connection: Connection) -> tuple[Resolved, bytes]:
        found = resolve(connection, services.workspace, reference)
        return found, spec_bytes(connection, services.workspace, found.spec_digest)

    found, data = await looked_up(services, look)
    spec = decode_spec(data)
    parameters, origins = await _pinned(services, spec, asked.parameters)
    submission = SubmitRun(
        workspace=services.workspace,
        run_id=run_id,
        spec=data,
        parameters=await _parameters(services, spec, parameters),
        name=asked.name,
        tags={**origins, **asked.tags, **tags_of_run(found)},
        experiment=asked.experiment,
        cause=Cause(kind="api", of=found.reference, by=services.principal.name),
        owner=services.settings.owner,
    )
    return await taken_in(services, submission)


def _run_id(services: Services, name: str, run_id: str | None, key: str | None) -> str:
    if key is None:
        return run_id or run_id_at(now() // 1000, secrets.token_bytes(10))
    if run_id is not None:
        raise InvalidInput("run_id: it and the header Idempotency-Key say the same; give one of them")
    return hashlib.sha256("\n".join((services.workspace, services.principal.name, name, key)).encode()).hexdigest()[:48]


async def _known(services: Services, run_id: str) -> RunView | None:
    def function(connection: Connection) -> RunView | None:
        try:
            row = find_run(connection, services.workspace, run_id)
        except InvalidInput:
            return None
        return run_view(connection, row, now()) if row[1] == run_id else None

    return await services.read(function)


async def _pinned(services: Services, spec: PipelineSpec, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The parameters with artifacts, which the workspace holds, in place of URIs in its datastores; and tags that tell of them."""
    if services.datastores is None:
        return given, {}
    found = await pinned(services.datastores.of(services.workspace), services.artifacts, spec, given)
    if found.parts:
        await services.write(lambda connection: hold(connection, services.workspace, found.parts, now()))
    return found.parameters, found.origins


async def _parameters(services: Services, spec: PipelineSpec, given: dict[str, Any]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, read in read_plain(spec, given).items():
        values[name] = read if not isinstance(read, bytes) else await _kept(services, read)
    return values


async def _kept(services: Services, data: bytes) -> ArtifactRef:
    if len(data) <= INLINE_LIMIT:
        return inline_json(data)
    digest = await services.artifacts.write(data)
    await uploaded(services, digest, len(data))
    return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(data), media_type=JSON, suffix=".json")


add_routes(router, "pipeline")
