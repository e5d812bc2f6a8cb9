"""The artifact store in memory, for tests and the simulation: no threads, and files only where a path is asked for."""

import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ArtifactLost


class MemoryArtifactStore:
    """`blobs` is open on purpose: whoever tests faults spoils or removes entries there."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self._folder: Path | None = None

    @property
    def staging(self) -> Path:
        return self._made("staging")

    async def write(self, data: bytes) -> str:
        digest = digest_bytes(data)
        self.blobs[digest] = data
        return digest

    async def take(self, staged: Path, digest: str) -> None:
        self._take(staged, digest)

    async def local(self, digest: str) -> Path:
        if not self._is_intact(digest):
            raise ArtifactLost(f"artifact {digest} is gone or corrupt; rerun the step that made it", digest)
        path = self._made("local") / digest.removeprefix("sha256:")
        data = self.blobs[digest]
        if not path.exists() or path.read_bytes() != data:
            path.unlink(missing_ok=True)
            path.write_bytes(data)
            path.chmod(0o444)
        return path

    async def lost(self, digests: Iterable[str]) -> set[str]:
        return {digest for digest in digests if not self._is_intact(digest)}

    async def delete(self, digest: str) -> None:
        self.blobs.pop(digest, None)

    def close(self) -> None:
        """Removes the files that were asked for."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _take(self, staged: Path, digest: str) -> None:
        if not self._is_intact(digest):
            self.blobs[digest] = staged.read_bytes()
        staged.unlink(missing_ok=True)  # Two outputs may be one file.

    def _is_intact(self, digest: str) -> bool:
        data = self.blobs.get(digest)
        return data is not None and digest_bytes(data) == digest

    def _made(self, name: str) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="penstock-artifacts-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = self._folder / name
        path.mkdir(exist_ok=True)
        return path
