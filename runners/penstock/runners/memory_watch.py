"""Holds memory limits by looking, a few times a second, at what process groups use.

The address space is not what is limited: libraries reserve far more than they use.
"""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from penstock.runners.group_usage import memory_by_group

_SECONDS = 0.1


@dataclass(slots=True)
class _Watched:
    limit: int
    exceeded: Callable[[], None]


class MemoryWatch:
    """Looks only while a group has a limit."""

    def __init__(self) -> None:
        self._watched: dict[int, _Watched] = {}
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def limited(self, group: int, limit: int | None, exceeded: Callable[[], None]) -> Generator[None]:
        """Calls `exceeded` when processes of `group` use more than `limit` bytes together inside the block."""
        if limit is None:
            yield
            return
        self._watched[group] = _Watched(limit, exceeded)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._look())
        try:
            yield
        finally:
            self._watched.pop(group, None)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _look(self) -> None:
        while self._watched:
            for group, used in memory_by_group(self._watched).items():
                watched = self._watched.get(group)
                if watched is not None and used > watched.limit:
                    watched.exceeded()
            await asyncio.sleep(_SECONDS)
        self._task = None
