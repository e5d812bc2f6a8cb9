"""Shared cache entries in a folder: one file each."""

import asyncio
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from penstock.contracts.errors import StoreUnavailable
from penstock.transport.shared_cache import entry_path


class FolderSharedCache:
    """Below `root`, which may be the folder of an artifact store."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def get_many(self, workspace: str, keys: Iterable[str]) -> dict[str, bytes]:
        return await asyncio.to_thread(self._get_many, {key: self._root / entry_path(workspace, key) for key in keys})

    async def put(self, workspace: str, key: str, data: bytes) -> None:
        await asyncio.to_thread(self._put, self._root / entry_path(workspace, key), data)

    def _get_many(self, paths: dict[str, Path]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for key, path in paths.items():
            try:
                found[key] = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreUnavailable(f"cache entries in {self._root} can't be read: {error}; is the disk there?") from error
        return found

    def _put(self, path: Path, data: bytes) -> None:
        if path.exists():
            return
        staged = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with staged.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            staged.replace(path)
        except OSError as error:
            staged.unlink(missing_ok=True)
            raise StoreUnavailable(f"a cache entry can't be written to {self._root}: {error}; is the disk full?") from error
