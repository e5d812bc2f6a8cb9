"""The artifact store: immutable bytes by digest. Adapters are in `artifact_stores/`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class ArtifactStore(Protocol):
    """Promised: bytes become visible whole or not at all; what is read has the digest that was asked for; writing the same bytes
    again, from anywhere, at any time, is harmless. Not promised: that bytes outlive a collection by `delete`.

    Directories and lists are stored as their manifests' bytes; the files of a directory are blobs of their own.
    """

    @property
    def staging(self) -> Path:
        """A folder on the file system from which `take` moves without copying. Make a folder of your own inside."""
        ...

    async def write(self, data: bytes) -> str:
        """Stores small bytes; returns their digest."""
        ...

    async def take(self, staged: Path, digest: str) -> None:
        """Stores the file `staged`, whose digest its writer computed; the file is gone afterwards.

        :raises OSError: a full disk, say; nothing is visible then.
        """
        ...

    async def local(self, digest: str) -> Path:
        """A read-only file on this machine with these bytes, verified: never write to it, never link it.

        :raises ArtifactLost: the bytes are gone or corrupt.
        :raises StoreUnavailable: nothing can be said of them now.
        """
        ...

    async def lost(self, digests: Iterable[str]) -> set[str]:
        """Those of `digests` whose bytes are gone or corrupt.

        :raises StoreUnavailable: nothing can be said of them now.
        """
        ...

    async def delete(self, digest: str) -> None:
        """Forgets the bytes, if they are there."""
        ...
