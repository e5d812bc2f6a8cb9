"""Where an embedded engine keeps artifacts: a folder of its own, or a store that it shares with others and whose cache that folder is.

The shared store's adapters are imported only where one is named: they weigh more than a whole run.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from penstock.contracts.errors import InvalidInput
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from penstock.transport.blobs import BlobFolder
from penstock.transport.shared_cache import SharedCache

T = TypeVar("T")
Sharing = Literal["off", "read", "read-write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedArtifacts:
    """`url` is the artifact store that is shared with others; `sharing` says whether cache entries beside it are read and written."""

    url: str | None = None
    sharing: Sharing = "off"


NOT_SHARED = SharedArtifacts()


def shared_artifacts(environment: Mapping[str, str]) -> SharedArtifacts:
    """From `PENSTOCK_ARTIFACTS_URL` and `PENSTOCK_CACHE_SHARED`.

    :raises InvalidInput: naming the variable.
    """
    url = environment.get("PENSTOCK_ARTIFACTS_URL") or None
    match environment.get("PENSTOCK_CACHE_SHARED") or "off":
        case ("off" | "read" | "read-write") as sharing:
            if sharing != "off" and url is None:
                raise InvalidInput(f"PENSTOCK_CACHE_SHARED={sharing} needs an artifact store to share: set PENSTOCK_ARTIFACTS_URL too")
            return SharedArtifacts(url=url, sharing=sharing)
        case other:
            raise InvalidInput(f"PENSTOCK_CACHE_SHARED is {other!r}; it can be off, read or read-write")


class Shelf(Protocol):
    """An artifact store as blocking calls of any thread but the event loop's."""

    @property
    def staging(self) -> Path: ...
    def write(self, data: bytes) -> str: ...
    def take(self, staged: Path, digest: str) -> None: ...
    def local(self, digest: str) -> Path: ...
    def lost(self, digests: Iterable[str]) -> set[str]: ...


class SharedShelf:
    """Another store than the folder, asked on the engine's event loop by `call`."""

    def __init__(self, store: ArtifactStore, call: "Callable[[Coroutine[Any, Any, Any]], Any]") -> None:
        self._store = store
        self._call = call

    @property
    def staging(self) -> Path:
        return self._store.staging

    def write(self, data: bytes) -> str:
        digest: str = self._call(self._store.write(data))
        return digest

    def take(self, staged: Path, digest: str) -> None:
        self._call(self._store.take(staged, digest))

    def local(self, digest: str) -> Path:
        path: Path = self._call(self._store.local(digest))
        return path

    def lost(self, digests: Iterable[str]) -> set[str]:
        lost: set[str] = self._call(self._store.lost(list(digests)))
        return lost


@dataclass(frozen=True, slots=True)
class Opened:
    """The store as the engine's parts use it, and what it shares beside it."""

    store: ArtifactStore
    own_folder: BlobFolder | None
    """Where nobody else keeps anything: what may be collected."""
    cache: SharedCache | None = None


@asynccontextmanager
async def open_artifacts(folder: Path, shared: SharedArtifacts) -> AsyncGenerator[Opened]:
    """:raises InvalidInput: no such kind of address, or what it needs is not installed.
    :raises StoreUnavailable: the store can't be reached or refuses us.
    """
    if shared.url is None:
        own = FolderArtifactStore(folder)
        yield Opened(own, own.folder)
        return
    try:
        stores, caches = (import_module(f"penstock.transport.{name}.by_url") for name in ("artifact_stores", "shared_caches"))
    except ModuleNotFoundError as error:
        raise InvalidInput(f"artifacts at {shared.url} need `pip install 'penstock[services]'`: {error}") from error
    async with stores.open_artifact_store(shared.url, folder) as store:
        if shared.sharing == "off":
            yield Opened(store, None)
            return
        async with caches.open_shared_cache(shared.url) as cache:
            yield Opened(store, None, cache)
