"""What a step said while it ran, as plain data of a `Completed`: metrics, tags, events, attachments."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

from penstock.contracts.artifacts import DIRECTORY, DirectoryEntry, DirectoryManifest, manifest_bytes
from penstock.sdk.context import Record

_MEDIA_TYPES = {".png": "image/png", ".svg": "image/svg+xml", ".html": "text/html", ".json": "application/json", ".txt": "text/plain", ".csv": "text/csv"}
Staged = list[tuple[str, str]]


def said(record: Record, staging: Path, files: Staged) -> dict[str, Any]:
    """Plain data; the bytes of attachments are staged and appended to `files` as pairs of path and digest."""
    plain: dict[str, Any] = {}
    if record.points:
        plain["metrics"] = [{"name": name, "value": value, "step": step} for name, value, step in record.points]
    if record.tags:
        plain["tags"] = record.tags
    if record.emitted:
        plain["emitted"] = record.emitted
    if record.saw_identity:
        plain["saw_identity"] = True
    if record.attachments:
        staging.mkdir(parents=True, exist_ok=True)
        plain["attachments"] = {
            name: _attached(data, record.suffixes[name], staging / f"attachment-{number}", files)
            for number, (name, data) in enumerate(record.attachments.items())
        }
    return plain


def _attached(data: bytes | Path, suffix: str, target: Path, files: Staged) -> dict[str, Any]:
    if isinstance(data, Path) and data.is_dir():
        return _attached_directory(data, target, files)
    digest, size = _staged(data, target, files)
    media_type = _MEDIA_TYPES.get(suffix, "application/octet-stream")
    return {"uri": f"cas:{digest}", "digest": digest, "size": size, "media_type": media_type, "suffix": suffix}


def _attached_directory(folder: Path, target: Path, files: Staged) -> dict[str, Any]:
    entries: list[DirectoryEntry] = []
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())):
        digest, size = _staged(path, target.with_name(f"{target.name}-{number}"), files)
        entries.append(DirectoryEntry(path=path.relative_to(folder).as_posix(), digest=digest, size=size))
    manifest = manifest_bytes(DirectoryManifest(files=tuple(sorted(entries, key=lambda entry: entry.path))))
    digest, size = _staged(manifest, target, files)
    return {"uri": f"cas:{digest}", "digest": digest, "size": size, "kind": "directory", "media_type": DIRECTORY}


def _staged(data: bytes | Path, target: Path, files: Staged) -> tuple[str, int]:
    if isinstance(data, bytes):
        target.write_bytes(data)
    else:
        shutil.copyfile(data, target)
    with target.open("rb") as file:
        digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    files.append((str(target), digest))
    return digest, target.stat().st_size
