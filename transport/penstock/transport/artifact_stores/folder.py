"""The artifact store in a folder of this machine (or one that it shares with others)."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from penstock.transport.blobs import ALWAYS_HASHED_BYTES, BlobFolder


class FolderArtifactStore:
    """`BlobFolder` for an event loop: what reads or flushes large files does so in a thread."""

    def __init__(self, root: Path) -> None:
        self.folder = BlobFolder(root)

    @property
    def staging(self) -> Path:
        return self.folder.staging

    async def write(self, data: bytes) -> str:
        return await asyncio.to_thread(self.folder.write, data)

    async def take(self, staged: Path, digest: str) -> None:
        await asyncio.to_thread(self.folder.take, staged, digest)

    async def local(self, digest: str) -> Path:
        if self._is_small(digest):
            return self.folder.local(digest)
        return await asyncio.to_thread(self.folder.local, digest)

    async def lost(self, digests: Iterable[str]) -> set[str]:
        return await asyncio.to_thread(self.folder.lost, list(digests))

    async def delete(self, digest: str) -> None:
        self.folder.delete(digest)

    def _is_small(self, digest: str) -> bool:
        try:
            return self.folder.path_of(digest).stat().st_size <= ALWAYS_HASHED_BYTES
        except OSError:
            return True
