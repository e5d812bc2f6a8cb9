"""What encoding a value gives: the value as it travels, and the files whose bytes the artifact store must take first."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from penstock.contracts.artifacts import ArtifactRef, Kind, Value
from penstock.transport.directories import file_digest


class Unfit(Exception):
    """A format can't hold this value and give it back as it is; the next one is tried."""


class Staged(NamedTuple):
    """Bytes to be taken into the artifact store: `ArtifactStore.take(path, digest)`."""

    digest: str
    path: Path


@dataclass(frozen=True, slots=True)
class Encoded:
    """`files` is empty where all of `value` is inline. No digest is in it twice."""

    value: Value
    files: list[Staged]


@dataclass(frozen=True, slots=True)
class Staging:
    """Where an encoding puts its files: new ones in `folder`, made when the first one comes.

    Files below `movable` are staged where they lie, without a copy.
    """

    folder: Path
    movable: Path | None = None
    files: dict[str, Path] = field(default_factory=dict[str, Path])

    def new_path(self) -> Path:
        self.folder.mkdir(exist_ok=True)
        return self.folder / f"value-{secrets.token_hex(8)}"

    def put(self, path: Path, *, media_type: str, suffix: str = "", kind: Kind = "blob") -> ArtifactRef:
        """The ref of a file of ours in `folder`; a second file of the same bytes is removed."""
        digest = file_digest(path)
        ref = self.put_known(path, digest, media_type=media_type, suffix=suffix, kind=kind)
        if self.files[digest] != path:
            path.unlink()
        return ref

    def put_known(self, path: Path, digest: str, *, media_type: str, suffix: str = "", kind: Kind = "blob") -> ArtifactRef:
        """The ref of a file whose digest is known; it stays where it is until it is taken."""
        self.files.setdefault(digest, path)
        size = path.stat().st_size
        return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=size, kind=kind, media_type=media_type, suffix=suffix)

    def put_bytes(self, data: bytes, *, media_type: str, suffix: str = "", kind: Kind = "blob") -> ArtifactRef:
        path = self.new_path()
        path.write_bytes(data)
        return self.put(path, media_type=media_type, suffix=suffix, kind=kind)

    def written_by(self, write: Callable[[Path], None], *, media_type: str, suffix: str) -> ArtifactRef:
        """The ref of what `write` writes to the path that it is given; a failed one leaves nothing."""
        path = self.new_path()
        try:
            write(path)
            return self.put(path, media_type=media_type, suffix=suffix)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def discard(self) -> None:
        """Removes what was made in `folder`."""
        for path in self.files.values():
            if path.parent == self.folder:
                path.unlink(missing_ok=True)

    def encoded(self, value: Value) -> Encoded:
        return Encoded(value, [Staged(digest, path) for digest, path in self.files.items()])
