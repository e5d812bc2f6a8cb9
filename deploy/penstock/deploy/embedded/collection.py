"""Collection of artifacts in the folder of an embedded engine: what nothing refers to any more is deleted."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.contracts.errors import ContractError
from penstock.contracts.views import Collected
from penstock.transport.blobs import BlobFolder

GRACE_SECONDS = 600.0
"""What was written less than so long ago may be about to be referred to."""
_MANIFEST_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Garbage:
    """Blobs that nothing refers to, and folders that nobody works in."""

    blobs: dict[str, Path]
    leftovers: list[Path]

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.blobs.values())


def find_garbage(home: Path, folder: BlobFolder, roots: set[str], *, is_quiet: bool) -> Garbage:
    """What may be deleted. `is_quiet`: no process works on this home, so working folders are leftovers too."""
    kept = reachable(folder, roots)
    now = time.time()
    blobs = {digest: path for digest, path in stored(home) if digest not in kept and now - path.stat().st_mtime > GRACE_SECONDS}
    snapshots = [path for path in _children(home / "snapshots") if path.name.replace("-", ":", 1) not in kept]
    directories = [path for path in _children(home / "directories") if f"sha256:{path.name}" not in kept]
    staging = list(_children(folder.staging)) if is_quiet else []
    return Garbage(blobs, [*snapshots, *directories, *staging])


def reachable(folder: BlobFolder, roots: set[str]) -> set[str]:
    """`roots` and everything that their manifests refer to."""
    found: set[str] = set()
    pending = set(roots)
    while pending:
        digest = pending.pop()
        found.add(digest)
        pending |= _parts(folder, digest) - found
    return found


def _parts(folder: BlobFolder, digest: str) -> set[str]:
    try:
        path = folder.path_of(digest)
        with path.open("rb") as file:
            if not file.read(10).startswith((b'{"files":', b'{"items":')) or path.stat().st_size > _MANIFEST_BYTES:
                return set()
        return set(_digests(json.loads(path.read_bytes())))
    except (OSError, ValueError, RecursionError, ContractError):
        # What is said to be there and is not, is no manifest, or has a digest that nobody could store, refers to nothing.
        return set()


def _digests(data: Any) -> Iterator[str]:
    match data:
        case {"digest": str(digest)}:
            yield digest
        case {**parts}:
            yield from _digests(list(parts.values()))
        case [*items]:
            for item in items:
                yield from _digests(item)
        case _:
            pass


def stored(home: Path) -> Iterator[tuple[str, Path]]:
    """Every blob in the folder, with its digest."""
    for path in (home / "artifacts" / "blobs").glob("*/*/*"):
        yield f"{path.parent.parent.name}:{path.name}", path


def _children(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from folder.iterdir()


def delete(folder: BlobFolder, garbage: Garbage) -> None:
    """Deletes it."""
    for digest in garbage.blobs:
        folder.delete(digest)
    for path in garbage.leftovers:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def summary(garbage: Garbage, entries: int) -> Collected:
    return Collected(artifacts=len(garbage.blobs), freed_bytes=garbage.bytes, cache_entries=entries, folders=len(garbage.leftovers))
