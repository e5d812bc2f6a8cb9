"""Code snapshots as folders of this machine, each written once."""

import asyncio
from pathlib import Path

from pydantic import ValidationError

from penstock.contracts.artifacts import ArtifactRef, DirectoryManifest
from penstock.contracts.errors import ArtifactLost
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.directories import materialise_shared


class Snapshots:
    """`folder` holds one folder a digest. A folder appears whole or not at all."""

    def __init__(self, folder: Path, artifacts: ArtifactStore) -> None:
        self._folder = folder
        self._artifacts = artifacts
        self._writing: dict[str, asyncio.Lock] = {}
        self._known: dict[str, Path] = {}

    async def folder(self, snapshot: ArtifactRef) -> Path:
        """The folder with the snapshot's files.

        :raises ArtifactLost: the snapshot or a file of it is gone.
        """
        if (known := self._known.get(snapshot.digest)) is not None:
            return known
        async with self._writing.setdefault(snapshot.digest, asyncio.Lock()):
            target = self._folder / snapshot.digest.replace(":", "-")
            if not target.is_dir():
                await self._write(snapshot, target)
            self._known[snapshot.digest] = target
        return target

    async def _write(self, snapshot: ArtifactRef, target: Path) -> None:
        manifest = await self._manifest(snapshot)
        places = {entry.digest: await self._artifacts.local(entry.digest) for entry in manifest.files}
        await asyncio.to_thread(materialise_shared, manifest, places.__getitem__, target)

    async def _manifest(self, snapshot: ArtifactRef) -> DirectoryManifest:
        data = await asyncio.to_thread((await self._artifacts.local(snapshot.digest)).read_bytes)
        try:
            return DirectoryManifest.model_validate_json(data)
        except ValidationError as error:
            raise ArtifactLost(f"the snapshot {snapshot.digest} is not a directory manifest", snapshot.digest) from error
