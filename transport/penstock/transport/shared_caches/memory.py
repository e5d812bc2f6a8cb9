"""Shared cache entries in memory, for tests and the simulation."""

from collections.abc import Iterable

from penstock.transport.shared_cache import entry_path


class MemorySharedCache:
    """`entries` is open on purpose: whoever tests faults spoils or removes some."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}

    async def get_many(self, workspace: str, keys: Iterable[str]) -> dict[str, bytes]:
        paths = {key: entry_path(workspace, key) for key in keys}
        return {key: self.entries[path] for key, path in paths.items() if path in self.entries}

    async def put(self, workspace: str, key: str, data: bytes) -> None:
        self.entries.setdefault(entry_path(workspace, key), data)
