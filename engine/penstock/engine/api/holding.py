"""Artifacts by workspace: what a request may read, refer to and leave out, whatever lies in the store that all of them share.

Admins of all workspaces are not asked, for they may read everything.
"""

import asyncio
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from penstock.contracts.access import Role
from penstock.contracts.artifacts import ArtifactRef, DirectoryManifest, ListManifest
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ArtifactLost, ContractError
from penstock.engine.access.holdings import BLOB, check_held, held, hold, kind_held, knows_spec
from penstock.engine.api.problems import NotAllowed, NotFound
from penstock.engine.api.services import Services, now
from penstock.engine.published.plain_refs import refs_in_plain

_MANIFEST_LIMIT = 256 * 1024 * 1024
Parts = dict[str, tuple[str, int]]
"""Kind and size by digest."""


async def readable(services: Services, digest: str) -> None:
    """Returns if the request may read these bytes. What they list can be read from then on.

    :raises NotFound: the workspace does not hold them, and hears nothing of others that might.
    """
    if services.principal.is_everywhere:
        return
    kind = await services.read(lambda connection: kind_held(connection, services.workspace, digest))
    if kind is None:
        raise NotFound(f"the workspace {services.workspace} has no artifact {digest}")
    if kind != BLOB:
        parts = await asyncio.to_thread(_parts_in, await services.artifacts.local(digest), kind)
        await services.write(lambda connection: hold(connection, services.workspace, parts, now()))


async def uploaded(services: Services, digest: str, size: int) -> None:
    """Has the workspace hold what it has shown that it has."""
    await services.write(lambda connection: hold(connection, services.workspace, {digest: (BLOB, size)}, now()))


async def missing(services: Services, digests: Iterable[str]) -> set[str]:
    """Those that have to be uploaded: what another workspace holds is told of to nobody else."""
    asked = set(digests)
    lost = await services.artifacts.lost(asked)
    if services.principal.is_everywhere:
        there: Parts = dict.fromkeys(asked - lost, (BLOB, 0))
        await services.write(lambda connection: hold(connection, services.workspace, there, now()))
        return lost
    return lost | (asked - await services.read(lambda connection: held(connection, services.workspace, asked)))


async def referable(services: Services, refs: Iterable[ArtifactRef]) -> None:
    """Returns if the request may have a run read these artifacts, and all that they list.

    :raises InvalidInput: the workspace does not hold one.
    """
    if services.principal.is_everywhere:
        return
    waiting = list(refs)
    seen: set[str] = set()
    while waiting:
        digests = {ref.digest for ref in waiting if not ref.is_inline} - seen
        await services.read(partial(check_held, workspace=services.workspace, digests=digests))
        seen |= digests
        lists = {ref.digest: ref for ref in waiting if ref.kind != "blob"}
        waiting = [part for ref in lists.values() for part in await _refs_of(services, ref) if part.is_inline or part.digest not in seen]


async def check_code(services: Services, spec: bytes) -> None:
    """Returns if the request may bring that pipeline: new code is brought by authors.

    :raises NotAllowed: it is new, and an operator brings it.
    """
    principal = services.principal
    if principal.role.includes(Role.AUTHOR):
        return
    if not await services.read(lambda connection: knows_spec(connection, services.workspace, digest_bytes(spec))):
        raise NotAllowed(
            403,
            f"this pipeline has neither run nor been published in the workspace {services.workspace}, and new code takes the role "
            f"{Role.AUTHOR.value}; {principal.name} is {principal.role.value}",
        )


async def _refs_of(services: Services, ref: ArtifactRef) -> list[ArtifactRef]:
    if ref.is_inline:
        return _listed(ref.inline_bytes(), ref.kind)
    try:
        path = await services.artifacts.local(ref.digest)
    except ArtifactLost:
        return []  # It is told of where lost ones are.
    return await asyncio.to_thread(_read, path, ref.kind)


def _parts_in(path: Path, kind: str) -> Parts:
    return {ref.digest: (ref.kind, ref.size) for ref in _read(path, kind) if not ref.is_inline}


def _read(path: Path, kind: str) -> list[ArtifactRef]:
    if path.stat().st_size > _MANIFEST_LIMIT:
        raise ContractError(f"a list of artifacts has more than {_MANIFEST_LIMIT} bytes")
    return _listed(path.read_bytes(), kind)


def _listed(data: bytes, kind: str) -> list[ArtifactRef]:
    """What a manifest lists, as whoever uses it reads it; of anything else, nothing."""
    try:
        if kind == "directory":
            files = DirectoryManifest.model_validate_json(data).files
            return [ArtifactRef(uri=f"cas:{file.digest}", digest=file.digest, size=file.size) for file in files]
        return list(refs_in_plain(ListManifest.model_validate_json(data).model_dump()))
    except ValidationError:
        return []
