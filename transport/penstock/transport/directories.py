"""Directories and files between the file system and the artifact store: what is in a folder, and how a folder is made again."""

import hashlib
import os
import re
import shutil
import stat
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from penstock.contracts.artifacts import DirectoryEntry, DirectoryManifest
from penstock.contracts.errors import InvalidInput

if sys.platform == "linux":
    import fcntl

_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:")
# `FICLONE` of linux/fs.h: the copy shares the source's blocks until one of both is written.
_CLONE = 0x40049409


def scan_directory(path: Path) -> tuple[DirectoryManifest, dict[str, Path]]:
    """What is in the folder `path`: its manifest, and where the bytes of each digest are.

    :raises InvalidInput: no folder, a link or a special file in it, or two names that differ in their Unicode form only.
    """
    if not path.is_dir():
        raise InvalidInput(f"{path} is not a folder")
    entries: dict[str, DirectoryEntry] = {}
    sources: dict[str, Path] = {}
    for relative, file in _files(path, ""):
        name = unicodedata.normalize("NFC", relative)
        if name in entries:
            raise InvalidInput(f"{path} holds two files named {name!r}, which differ in their Unicode form only; rename one")
        status = file.stat()
        digest = file_digest(file)
        executable = bool(status.st_mode & stat.S_IXUSR) and os.name == "posix"
        entries[name] = DirectoryEntry(path=name, digest=digest, size=status.st_size, executable=executable)
        sources[digest] = file
    return DirectoryManifest(files=tuple(entries[name] for name in sorted(entries))), sources


def file_digest(path: Path) -> str:
    """`sha256:<hex>` of a file, read in pieces."""
    with path.open("rb", buffering=0) as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def materialise_directory(manifest: DirectoryManifest, resolve: Callable[[str], Path], target: Path) -> None:
    """Makes the folder `target` with the manifest's files, each a copy (or reflink) of what `resolve` gives for its digest.

    :raises InvalidInput: the manifest names a path outside of the folder, or one path twice.
    """
    paths = _targets(manifest, target)
    target.mkdir(parents=True, exist_ok=True)
    for entry, path in zip(manifest.files, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        materialise_file(resolve(entry.digest), path, executable=entry.executable)


def materialise_shared(manifest: DirectoryManifest, resolve: Callable[[str], Path], target: Path) -> None:
    """Makes the folder `target` for many readers: it appears whole or not at all, and none writes into its files by mistake.

    :raises InvalidInput: as `materialise_directory`.
    """
    fresh = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    shutil.rmtree(fresh, ignore_errors=True)
    materialise_directory(manifest, resolve, fresh)
    for entry in manifest.files:
        (fresh / entry.path).chmod(0o555 if entry.executable else 0o444)
    try:
        fresh.rename(target)
    except OSError:
        # Somebody was faster with the same bytes.
        shutil.rmtree(fresh, ignore_errors=True)
        if not target.is_dir():
            raise


def materialise_file(source: Path, target: Path, *, executable: bool = False) -> None:
    """Makes `target` a writable file of its own with the bytes of `source`: a reflink where the file system can, else a copy."""
    with source.open("rb") as reader, target.open("xb") as writer:
        if not _reflinked(reader.fileno(), writer.fileno()):
            shutil.copyfileobj(reader, writer, 1024 * 1024)
    if executable and os.name == "posix":
        target.chmod(0o755)


def _reflinked(source: int, target: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target, _CLONE, source)
    except OSError:
        return False
    return True


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        relative, path = prefix + entry.name, Path(entry.path)
        if entry.is_symlink():
            raise InvalidInput(f"{path} is a link; a directory artifact holds plain files only: copy what it points to")
        if entry.is_dir():
            yield from _files(path, f"{relative}/")
        elif not entry.is_file():
            raise InvalidInput(f"{path} is not a plain file (a socket, pipe or device); a directory artifact can't hold it")
        elif (wrong := _unusable(relative)) is not None:
            raise InvalidInput(f"{path} has a name that can't be used everywhere: {wrong}; rename it")
        else:
            yield relative, path


def _unusable(relative: str) -> str | None:
    """Why a relative path would not stay inside its folder on every platform, or None."""
    if "\0" in relative:
        return "it holds NUL"
    if "\\" in relative:
        return "it holds a backslash"
    if _WINDOWS_DRIVE.match(relative):
        return "it begins like a Windows drive"
    if any(part in ("", ".", "..") for part in relative.split("/")):
        return "it is absolute, or has an empty, `.` or `..` part"
    try:
        relative.encode()
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    return None


def _targets(manifest: DirectoryManifest, target: Path) -> list[Path]:
    names = [entry.path for entry in manifest.files]
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
    for name in names:
        if (wrong := _unusable(name)) is not None:
            raise InvalidInput(f"a directory artifact names the path {name!r}, which is refused: {wrong}")
        if name in folders:
            raise InvalidInput(f"a directory artifact names {name!r} as a file and as a folder")
    if len(set(names)) != len(names):
        raise InvalidInput("a directory artifact names one path twice")
    return [target / name for name in names]
