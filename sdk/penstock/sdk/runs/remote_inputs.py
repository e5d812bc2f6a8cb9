"""Inputs at URIs: read once when a run starts, with the credentials of whoever starts it, and stored as artifacts.

What reads them is imported when the first one is given. An object that has not changed since is not read again.
"""

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.encoding import digest_of
from penstock.contracts.errors import DataChanged, InvalidInput
from penstock.sdk.client import Artifacts
from penstock.sdk.types import Directory, File
from penstock.transport.datastore import FoundObject, Kind, mark_of

_KNOWN = "remote-inputs"


@runtime_checkable
class HoldsArtifacts(Protocol):
    """An engine that can say what it has. Of another one, every remote input is read each time."""

    def holds(self, ref: ArtifactRef) -> bool:
        """Whether all bytes of the artifact are in the store."""
        ...


ORIGIN = "input."
"""Before the parameter's name: the tag that tells where its value came from."""
SCHEMES = ("s3://", "https://", "http://", "file://")


@dataclass(frozen=True, slots=True)
class Origins:
    """Where the inputs of a run that is being started come from. `home`: where it is remembered what was read before; `tags` tell of each
    which object it was, in what state, and the digest of its bytes."""

    home: Path | None
    tags: dict[str, str] = field(default_factory=dict[str, str])

    def take(self, artifacts: Artifacts, named: File | Directory, parameter: str) -> ArtifactRef:
        """As `pinned`."""
        mark, ref = pinned(artifacts, self.home, named, f"the parameter {parameter!r}")
        self.tags[f"{ORIGIN}{parameter}"] = f"{named.uri} {mark} {ref.digest}"
        return ref


def is_remote(text: str) -> bool:
    """Whether it names data that this module reads."""
    return text.startswith(SCHEMES)


def pinned(artifacts: Artifacts, home: Path | None, named: File | Directory, what: str) -> tuple[str, ArtifactRef]:
    """Stores what is there; gives its mark too.

    :raises InvalidInput: it can't be read so, or nothing is there; `what` says where it was named.
    :raises DataChanged: it changed while it was read.
    :raises DatastoreUnavailable: the server can't be reached, or refuses the user.
    """
    if not named.copy:
        raise InvalidInput(f"{what}: copy=False leaves {named.uri} where it is, which no runner could read; leave it out")
    kind: Kind = "directory" if isinstance(named, Directory) else "file"
    place, objects = _found(named.uri, kind, what)
    mark = objects[0].mark if kind == "file" else mark_of(objects)
    if home is not None and (known := _known(artifacts, home, named.uri, kind, mark)) is not None:
        return mark, known
    with _fetched(place, named.uri, kind, objects) as path:
        ref = artifacts.put_path(path)
    if home is not None:
        _remember(home, named.uri, kind, mark, ref)
    return mark, ref


def local_copies(value: Any, folder: Path, what: str) -> Any:
    """A list or tuple with files of this machine, in `folder`, in place of remote ones."""
    if not isinstance(value, list | tuple) or not any(_is_remote_input(one) for one in cast("list[Any]", value)):
        return cast(Any, value)
    return [_local_copy(one, folder, what) if _is_remote_input(one) else one for one in cast("list[Any]", value)]


def _is_remote_input(value: Any) -> bool:
    return isinstance(value, File | Directory) and is_remote(value.uri)


def _local_copy(named: File | Directory, folder: Path, what: str) -> File | Directory:
    kind: Kind = "directory" if isinstance(named, Directory) else "file"
    place, objects = _found(named.uri, kind, what)
    with _fetched(place, named.uri, kind, objects) as path:
        kept = folder / secrets.token_hex(8)
        kept.mkdir()
        return type(named)(shutil.move(path, kept / path.name))


def _found(uri: str, kind: Kind, what: str) -> tuple[Any, list[FoundObject]]:
    """Who reads it, and the objects that it names: one, or those below a prefix.

    :raises InvalidInput: it names nothing that is there.
    """
    reading, places, addresses = (
        import_module(f"penstock.transport.{name}") for name in ("datastores.declared", "datastores.place", "data_addresses")
    )
    asked = uri if kind == "file" else f"{uri.rstrip('/')}/"
    root = asked.rstrip("/").rpartition("/")[0] if kind == "file" else asked.rstrip("/")
    with _told(what):
        is_pattern = addresses.has_wildcards(addresses.checked(uri))
        place = reading.open_place(places.Declaration(name=root, url=root))
        objects: list[FoundObject] = [] if is_pattern else reading.objects_in(place, asked)
    if is_pattern:
        raise InvalidInput(f"{what}: {uri!r} has wildcards; name one {kind}, or a list of them")
    if not objects:
        raise InvalidInput(f"{what}: there is no object {uri}" if kind == "file" else f"{what}: there is nothing below {asked}")
    return place, objects


@contextmanager
def _told(what: str) -> Generator[None]:
    """Says in which parameter something can't be used."""
    try:
        yield
    except InvalidInput as error:
        raise type(error)(f"{what}: {error}") from error


@contextmanager
def _fetched(place: Any, uri: str, kind: Kind, objects: list[FoundObject]) -> Generator[Path]:
    """A copy under its own name, in one state, for as long as the context lasts."""
    reading = import_module("penstock.transport.datastores.declared")
    with tempfile.TemporaryDirectory(prefix="penstock-input-") as folder:
        path = Path(folder) / (uri.rstrip("/").rpartition("/")[2] or "data")
        if kind == "file":
            reading.copied(place, objects[0], path)
        else:
            prefix = f"{uri.rstrip('/')}/"
            for found in objects:
                target = path / found.uri.removeprefix(prefix)
                target.parent.mkdir(parents=True, exist_ok=True)
                reading.copied(place, found, target)
            if mark_of(reading.objects_in(place, prefix)) != mark_of(objects):
                raise DataChanged(f"what is below {prefix} changed while it was read; try again when its writer is done")
        yield path


def _known(artifacts: Artifacts, home: Path, uri: str, kind: Kind, mark: str) -> ArtifactRef | None:
    """The artifact that was made of the same state before, if the engine still has it."""
    if not isinstance(artifacts, HoldsArtifacts) or not _is_strong(mark):
        return None
    try:
        ref = ArtifactRef.model_validate(json.loads(_record(home, uri, kind, mark).read_bytes()))
    except (OSError, ValueError):
        return None
    return ref if artifacts.holds(ref) else None


def _remember(home: Path, uri: str, kind: Kind, mark: str, ref: ArtifactRef) -> None:
    if not _is_strong(mark):
        return
    path = _record(home, uri, kind, mark)
    # What can't be remembered is read again.
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        staged = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
        staged.write_text(ref.model_dump_json(), encoding="utf-8")
        staged.replace(path)


def _is_strong(mark: str) -> bool:
    """Whether other bytes always have another mark: those of servers that tell only a time and a size may not."""
    return " " not in mark and not mark.startswith("W/")


def _record(home: Path, uri: str, kind: Kind, mark: str) -> Path:
    server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return home / _KNOWN / digest_of([uri, kind, mark, server]).removeprefix("sha256:")[:40]
