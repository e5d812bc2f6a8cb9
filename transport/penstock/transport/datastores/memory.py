"""A datastore in memory, for tests and simulations."""

import hashlib
from collections.abc import Iterator

from penstock.contracts.errors import DataChanged, DatastoreUnavailable
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.datastore import FoundObject
from penstock.transport.datastores.declared import DeclaredDatastores
from penstock.transport.datastores.place import PIECE_BYTES, Declaration


class MemoryPlace:
    """`contents` by URI is open on purpose; with `is_away` nothing can be reached."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.is_away = False

    def objects(self, base: str, prefix: str, depth: int | None) -> Iterator[FoundObject]:
        self._reach()
        start = f"{base}/{prefix}"
        levels = base.count("/") + (depth or 0)
        for uri in list(self.contents):
            if uri.startswith(start) and (depth is None or uri.count("/") <= levels):
                yield self._found(uri)

    def look(self, uri: str) -> FoundObject | None:
        self._reach()
        return self._found(uri) if uri in self.contents else None

    def pieces(self, found: FoundObject) -> Iterator[bytes]:
        data = self.contents.get(found.uri, b"")
        for start in range(0, len(data), PIECE_BYTES):
            yield data[start : start + PIECE_BYTES]
        self._reach()
        if found.uri not in self.contents or self._found(found.uri).mark != found.mark:
            raise DataChanged(f"{found.uri} is not what it was when it was found; nothing of it was taken")

    def _found(self, uri: str) -> FoundObject:
        data = self.contents[uri]
        return FoundObject(uri=uri, mark=hashlib.sha256(data).hexdigest()[:32], size=len(data), changed_at=0)

    def _reach(self) -> None:
        if self.is_away:
            raise DatastoreUnavailable("the datastore in memory is away")


class MemoryDatastores(DeclaredDatastores):
    """One datastore at `root`, whose contents are `place.contents`."""

    def __init__(self, artifacts: ArtifactStore, root: str = "s3://lake") -> None:
        self.place = MemoryPlace()
        super().__init__([Declaration(name="lake", url=root)], artifacts, lambda _: self.place)
