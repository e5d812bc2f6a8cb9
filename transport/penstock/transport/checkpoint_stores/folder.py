"""Checkpoints in a folder that the runners share: of each its bytes, in a file named by their digest, and a small file that names them."""

import asyncio
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from penstock.contracts.errors import StoreUnavailable
from penstock.transport.checkpoints import checkpoint_path, pointed_at
from penstock.transport.directories import file_digest

_CURRENT = "current"


class FolderCheckpoints:
    """Below `root`, which may be the folder of an artifact store."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def save(self, workspace: str, name: str, archive: Path) -> None:
        await asyncio.to_thread(self._save, self._root / checkpoint_path(workspace, name), archive)

    async def load(self, workspace: str, name: str, target: Path) -> bool:
        return await asyncio.to_thread(self._load, self._root / checkpoint_path(workspace, name), target)

    async def remove(self, workspace: str, name: str) -> None:
        await asyncio.to_thread(self._remove, self._root / checkpoint_path(workspace, name))

    def _save(self, folder: Path, archive: Path) -> None:
        digest = file_digest(archive)
        before = self._current(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _put(folder / digest[7:], archive)
            pointer = archive.with_name(f".{archive.name}-{secrets.token_hex(4)}")
            pointer.write_text(digest)
            _put(folder / _CURRENT, pointer)
        except OSError as error:
            raise StoreUnavailable(f"a checkpoint can't be written to {folder}: {error}; is the disk full?") from error
        if before not in (None, digest):
            (folder / str(before)[7:]).unlink(missing_ok=True)

    def _load(self, folder: Path, target: Path) -> bool:
        digest = self._current(folder)
        while digest is not None:
            with suppress(FileNotFoundError):
                shutil.copyfile(folder / digest[7:], target)
                if file_digest(target) == digest:
                    return True
            latest = self._current(folder)
            # Somebody saved another one meanwhile, else it is damaged.
            digest = latest if latest != digest else None
        target.unlink(missing_ok=True)
        return False

    def _remove(self, folder: Path) -> None:
        digest = self._current(folder)
        if digest is None:
            return
        try:
            for name in (_CURRENT, digest[7:]):
                (folder / name).unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()
        except OSError as error:
            raise StoreUnavailable(f"the checkpoint {folder} can't be removed: {error}") from error

    def _current(self, folder: Path) -> str | None:
        try:
            return pointed_at((folder / _CURRENT).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"the checkpoint {folder} can't be read: {error}; is the disk there?") from error


def _put(place: Path, file: Path) -> None:
    """Moves the file to `place`, where it appears whole and outlives a power cut."""
    staged = place.with_name(f".{place.name}-{secrets.token_hex(4)}")
    try:
        shutil.move(file, staged)
        with staged.open("rb") as moved:
            os.fsync(moved.fileno())
        staged.replace(place)
    finally:
        staged.unlink(missing_ok=True)
