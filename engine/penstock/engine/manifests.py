"""The manifests of directories that decisions look into, read before a transaction is tried again."""

from collections.abc import Iterable

from pydantic import ValidationError

from penstock.contracts.artifacts import DirectoryManifest
from penstock.contracts.errors import ArtifactLost, ContractError
from penstock.transport.artifact_store import ArtifactStore

_KEPT = 256


class Manifests:
    """`known` holds a manifest by digest, or why it can't be had."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self.known: dict[str, DirectoryManifest | str] = {}

    async def read(self, digests: Iterable[str]) -> None:
        """Has these known.

        :raises StoreUnavailable: nothing can be said of them now.
        """
        for digest in digests:
            self.known[digest] = await self._read(digest)

    def settle(self) -> None:
        """What was decided is decided: forgets failures, which may be mended by then, and all but the newest."""
        for digest in [digest for digest, found in self.known.items() if isinstance(found, str)]:
            del self.known[digest]
        for digest in list(self.known)[: max(0, len(self.known) - _KEPT)]:
            del self.known[digest]

    async def _read(self, digest: str) -> DirectoryManifest | str:
        try:
            return DirectoryManifest.model_validate_json((await self._artifacts.local(digest)).read_bytes())
        except (ArtifactLost, ContractError) as error:
            return str(error)
        except ValidationError:
            return f"the artifact {digest} is no directory: its bytes are no manifest"
