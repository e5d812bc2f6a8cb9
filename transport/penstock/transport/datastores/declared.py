"""Datastores as operators declare them: an address that is below none of them is never touched."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from penstock.contracts.artifacts import DIRECTORY, ArtifactRef, DirectoryEntry, DirectoryManifest, manifest_bytes
from penstock.contracts.errors import DataChanged, InvalidInput, StoreUnavailable
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.data_addresses import (
    checked,
    fits,
    has_wildcards,
    is_below,
    masked,
    refuse_link_local,
    search_of,
    suffix_of,
)
from penstock.transport.datastore import Datastores, FoundObject, Kind, mark_of
from penstock.transport.datastores.place import Declaration, Place

AT_ONCE = 8
"""Objects that are read at the same time by one process."""
MOST_OBJECTS = 100_000
"""What one look gives; more is refused, so that nobody has a coordinator hold millions of names."""
_KINDS = {"s3": ("s3", "S3Place"), "file": ("folder", "FolderPlace"), "https": ("web", "WebPlace"), "http": ("web", "WebPlace")}


class _Brought(NamedTuple):
    digest: str
    size: int


def open_place(declaration: Declaration) -> Place:
    """The place that the declaration is about; nothing is reached for yet. What its kind needs is imported now.

    :raises InvalidInput: its address can't be used, or a library for it is not installed.
    """
    root = checked(declaration.url)
    refuse_link_local(root, f"the datastore {declaration.name!r}")
    if declaration.endpoint_url is not None:
        refuse_link_local(declaration.endpoint_url, f"the endpoint of the datastore {declaration.name!r}")
    module, name = _KINDS[root.partition(":")[0]]
    try:
        make: Callable[[Declaration], Place] = getattr(import_module(f"penstock.transport.datastores.{module}"), name)
    except ModuleNotFoundError as error:
        needed = "httpx" if module == "web" else "s3fs"
        raise InvalidInput(f"reading {masked(root)} needs {needed}, which is not installed here: pip install {needed}") from error
    return make(declaration)


def objects_in(place: Place, uri: str) -> list[FoundObject]:
    """What `uri` names there, in order of URIs.

    :raises InvalidInput: that is more than `MOST_OBJECTS`.
    """
    if not has_wildcards(uri) and not uri.endswith("/"):
        found = place.look(uri)
        return [] if found is None else [found]
    objects: list[FoundObject] = []
    for one in place.objects(*search_of(uri)):
        if fits(uri, one.uri):
            objects.append(one)
        if len(objects) > MOST_OBJECTS:
            raise InvalidInput(f"{uri} names more than {MOST_OBJECTS:,} objects; name fewer")
    return sorted(objects, key=lambda one: one.uri)


def copied(place: Place, found: FoundObject, target: Path) -> str:
    """Writes the object's bytes into the new file `target`; gives their digest.

    :raises DataChanged: it is not in that state any more; the file is of no worth then.
    """
    digest = hashlib.sha256()
    with target.open("xb") as file:
        for piece in place.pieces(found):
            digest.update(piece)
            file.write(piece)
    return f"sha256:{digest.hexdigest()}"


class OpenedDatastores:
    """`Datastores` over places."""

    def __init__(self, places: Sequence[tuple[Declaration, Place]], artifacts: ArtifactStore, free: asyncio.Semaphore) -> None:
        # The longest first: of two that hold an object, the nearer one knows how to read it.
        self._places = sorted(places, key=lambda it: -len(it[0].url))
        self._artifacts = artifacts
        self._free = free

    def of(self, workspace: str) -> Datastores:
        own = [(one, place) for one, place in self._places if one.workspaces is None or workspace in one.workspaces]
        return OpenedDatastores(own, self._artifacts, self._free)

    async def find(self, uri: str) -> list[FoundObject]:
        place = self._place(checked(uri))
        async with self._free:
            return await asyncio.to_thread(objects_in, place, uri)

    async def take(self, uri: str, kind: Kind, mark: str | None = None) -> ArtifactRef:
        place = self._place(checked(uri))
        if kind == "directory":
            return await self._take_directory(place, f"{uri.rstrip('/')}/", mark)
        async with self._free:
            found = await asyncio.to_thread(place.look, uri)
        if found is None:
            raise InvalidInput(f"there is no object {uri}")
        if mark is not None and found.mark != mark:
            raise DataChanged(f"{uri} is not at {mark} any more, but at {found.mark}; what it was then can't be read")
        brought = await self._bring(place, found)
        return ArtifactRef(
            uri=f"cas:{brought.digest}",
            digest=brought.digest,
            size=brought.size,
            media_type="application/octet-stream",
            suffix=suffix_of(uri),
        )

    async def _take_directory(self, place: Place, prefix: str, mark: str | None) -> ArtifactRef:
        before = await self._listed(place, prefix)
        if not before:
            raise InvalidInput(f"there is nothing below {prefix}")
        if mark is not None and mark_of(before) != mark:
            raise DataChanged(f"what is below {prefix} is not what it was")
        brought = await asyncio.gather(*(self._bring(place, found) for found in before))
        if mark_of(await self._listed(place, prefix)) != mark_of(before):
            raise DataChanged(f"what is below {prefix} changed while it was read")
        entries = [
            DirectoryEntry(path=found.uri.removeprefix(prefix), digest=one.digest, size=one.size)
            for found, one in zip(before, brought, strict=True)
        ]
        data = manifest_bytes(DirectoryManifest(files=tuple(sorted(entries, key=lambda entry: entry.path))))
        digest = await self._artifacts.write(data)
        return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(data), kind="directory", media_type=DIRECTORY)

    async def _listed(self, place: Place, prefix: str) -> list[FoundObject]:
        async with self._free:
            return await asyncio.to_thread(objects_in, place, prefix)

    async def _bring(self, place: Place, found: FoundObject) -> _Brought:
        staged = self._artifacts.staging / f"data-{secrets.token_hex(8)}"
        async with self._free:
            try:
                digest = await asyncio.to_thread(copied, place, found, staged)
                size = staged.stat().st_size
                await self._artifacts.take(staged, digest)
            except OSError as error:
                raise StoreUnavailable(f"{found.uri} can't be kept: {error.strerror}; is the disk full?") from error
            finally:
                staged.unlink(missing_ok=True)
        return _Brought(digest, size)

    def _place(self, uri: str) -> Place:
        for declaration, place in self._places:
            if is_below(uri, declaration.url):
                return place
        known = ", ".join(f"{one.name} ({one.url})" for one, _ in self._places) or "none"
        raise InvalidInput(
            f"{uri} is in no declared datastore, so it is not read; declared: {known}. "
            "An operator declares one as [datastores.NAME] in penstock.toml or in PENSTOCK_DATASTORES_FILE"
        )


class DeclaredDatastores(OpenedDatastores):
    """All that were declared; each is connected to when it is first asked for something."""

    def __init__(
        self, declarations: Iterable[Declaration], artifacts: ArtifactStore, opened: Callable[[Declaration], Place] = open_place
    ) -> None:
        """:raises InvalidInput: as `open_place`, of any of them."""
        super().__init__([(one, opened(one)) for one in declarations], artifacts, asyncio.Semaphore(AT_ONCE))
