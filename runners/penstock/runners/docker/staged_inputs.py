"""The inputs of a function in a container: the bytes that belong to them, and no others of the artifact store."""

import asyncio
from collections.abc import Iterable
from pathlib import Path, PurePath

from pydantic import ValidationError

from penstock.contracts.artifacts import ArtifactRef, DirectoryManifest, Kind, ListManifest, Value, refs_in
from penstock.contracts.errors import ArtifactLost, InvalidInput
from penstock.runners.docker.places import BLOBS
from penstock.runners.docker.sandbox import Mount
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.directories import materialise_file

# Each mount costs the engine about a millisecond; what is over is copied when it is asked for.
_MOUNTS = 64


class StagedInputs:
    """Answers a guest's questions for bytes with their path inside of its container.

    Files that are inputs themselves are mounted where the artifact store has them; the parts of folders and lists are copied into
    `folder`, which the container sees as `BLOBS`, when they are asked for.
    """

    def __init__(self, artifacts: ArtifactStore, folder: Path, inputs: Iterable[Value]) -> None:
        self._artifacts = artifacts
        self._folder = folder
        self._kinds: dict[str, Kind] = {}
        """What it may ask for. A manifest that it was given allows for what is in it."""
        self._placed: set[str] = set()
        self._allow(ref for value in inputs for ref in refs_in(value))
        folder.mkdir()

    @property
    def digests(self) -> set[str]:
        return set(self._kinds)

    async def mounts(self) -> list[Mount]:
        """:raises ArtifactLost: an input is gone."""
        mounts = [Mount(self._folder, BLOBS)]
        for digest in [digest for digest, kind in self._kinds.items() if kind == "blob"][:_MOUNTS]:
            # What it is mounted over must be there: the folder is read-only inside.
            (self._folder / _name(digest)).touch()
            mounts.append(Mount(await self._artifacts.local(digest), BLOBS / _name(digest)))
            self._placed.add(digest)
        return mounts

    async def local(self, digest: str) -> PurePath:
        """:raises InvalidInput: it belongs to no input."""
        kind = self._kinds.get(digest)
        if kind is None:
            raise InvalidInput(f"{digest} belongs to no input of this step")
        if digest not in self._placed:
            source = await self._artifacts.local(digest)
            await asyncio.to_thread(materialise_file, source, self._folder / _name(digest))
            self._placed.add(digest)
            if kind != "blob":
                self._allow(parts(kind, await asyncio.to_thread(source.read_bytes), digest))
        return BLOBS / _name(digest)

    def _allow(self, refs: Iterable[ArtifactRef]) -> None:
        self._kinds |= {ref.digest: ref.kind for ref in refs if not ref.is_inline}


def parts(kind: Kind, manifest: bytes, digest: str) -> list[ArtifactRef]:
    """What a folder or list is made of.

    :raises ArtifactLost: these bytes are not its manifest.
    """
    try:
        if kind == "list":
            return [ref for item in ListManifest.model_validate_json(manifest).items for ref in refs_in(item)]
        files = DirectoryManifest.model_validate_json(manifest).files
    except ValidationError as error:
        raise ArtifactLost(f"{digest} is not the manifest of a {kind}", digest) from error
    return [ArtifactRef(uri=f"cas:{entry.digest}", digest=entry.digest, size=entry.size) for entry in files]


def _name(digest: str) -> str:
    return digest.replace(":", "-")
