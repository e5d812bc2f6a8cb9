"""Artifacts over HTTP: what is missing, uploads and downloads. Bytes are streamed, and their digest is checked both ways."""

import asyncio
import hashlib
import secrets
from pathlib import Path as FilePath
from typing import Annotated, Protocol

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from penstock.contracts.errors import InvalidInput, StoreUnavailable
from penstock.contracts.views import Lineage
from penstock.engine.api.admission import DIGEST
from penstock.engine.api.holding import missing, readable, uploaded
from penstock.engine.api.links import LONGEST_SECONDS, QUERY, Link, signed
from penstock.engine.api.problems import NotFound
from penstock.engine.api.services import Serving, answer, body_of, now, read_body
from penstock.engine.run_lists import lineage

router = APIRouter(tags=["artifacts"])

Digest = Annotated[str, Path(pattern=DIGEST)]
ASKED_AT_ONCE = 10_000
_BUFFER_BYTES = 1024 * 1024


class _Take(Protocol):
    def __call__(self, data: bytearray, /) -> object: ...


class MissingRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    digests: Annotated[list[Annotated[str, Field(pattern=DIGEST)]], Field(max_length=ASKED_AT_ONCE)]


class Missing(BaseModel):
    missing: list[str]


@router.post("/missing-artifacts", response_model=Missing, openapi_extra=body_of(MissingRequest), summary="Which must be uploaded")
async def list_missing(request: Request, services: Serving) -> Missing:
    """Those of `digests` whose bytes are not in the artifact store, or not for this workspace."""
    asked = await read_body(request, MissingRequest)
    return Missing(missing=sorted(await missing(services, asked.digests)))


@router.put("/artifacts/{digest}", status_code=204, summary="Upload one")
async def upload(digest: Digest, request: Request, services: Serving) -> Response:
    """The body is the bytes; they appear under their digest whole or not at all. Again is harmless."""
    staged = services.artifacts.staging / f"upload-{secrets.token_hex(16)}"
    try:
        found = await _receive(request, staged)
        if found != digest:
            raise InvalidInput(f"the body has the digest {found}, not {digest}: it changed on the way, or while it was read")
        size = (await asyncio.to_thread(staged.stat)).st_size
        await services.artifacts.take(staged, digest)
    except OSError as error:
        raise StoreUnavailable(f"the artifact can't be stored: {error.strerror}; is there space in the artifact store?") from error
    finally:
        staged.unlink(missing_ok=True)
    await uploaded(services, digest, size)
    return Response(status_code=204)


async def _receive(request: Request, staged: FilePath) -> str:
    """Writes the body to a file, little of it in memory at a time; its digest."""
    hashed = hashlib.sha256()
    buffer = bytearray()
    with staged.open("xb") as file:
        async for piece in request.stream():
            buffer += piece
            if len(buffer) >= _BUFFER_BYTES:
                full, buffer = buffer, bytearray()
                await asyncio.to_thread(_keep, file.write, hashed.update, full)
        await asyncio.to_thread(_keep, file.write, hashed.update, buffer)
    return f"sha256:{hashed.hexdigest()}"


def _keep(write: _Take, update: _Take, data: bytearray) -> None:
    write(data)
    update(data)


@router.get("/artifacts/{digest}/lineage", response_model=Lineage, summary="Where one came from, and where it went")
async def show_lineage(digest: Digest, services: Serving) -> Response:
    """The step runs that made it and those that read it, in the newest runs that have to do with it."""
    found = await services.read(lambda connection: lineage(connection, services.workspace, digest, now()))
    if found is None:
        raise NotFound("no run here has made or read such an artifact")
    return answer(found)


class LinkRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    seconds: Annotated[int, Field(ge=1, le=LONGEST_SECONDS)] = 300


class LinkView(BaseModel):
    """`url` is behind the address of the API. `ends_at`: microseconds since 1970 UTC."""

    url: str
    ends_at: int


@router.post(
    "/artifacts/{digest}/link", status_code=201, response_model=LinkView, openapi_extra=body_of(LinkRequest), summary="Let others read one"
)
async def make_link(digest: Digest, request: Request, services: Serving) -> Response:
    """Whoever has the link may read the artifact, without a token, until it ends; nothing else."""
    asked = await read_body(request, LinkRequest)
    await readable(services, digest)
    key = services.settings.signing_key
    if key is None:
        raise InvalidInput("this API has no signing key, so it can sign no links: give it the PENSTOCK_SIGNING_KEY that coordinators have")
    link = Link(services.workspace, digest, now() + asked.seconds * 1_000_000)
    return answer(LinkView(url=f"/v1/artifacts/{digest}?{QUERY}={signed(link, key)}", ends_at=link.ends_at), 201)


@router.get("/artifacts/{digest}", response_class=FileResponse, summary="Download one")
async def download(digest: Digest, services: Serving) -> FileResponse:
    """Verified before the first byte is sent. Ranges are answered."""
    await readable(services, digest)
    path = await services.artifacts.local(digest)
    headers = {"Content-Disposition": "attachment", "Cache-Control": "private, immutable", "Content-Security-Policy": "sandbox"}
    return FileResponse(path, media_type="application/octet-stream", headers=headers)
