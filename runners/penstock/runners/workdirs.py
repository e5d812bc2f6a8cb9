"""Working directories of attempts: each gets an empty one of its own; one that was left empty serves again.

Making and removing a directory costs more than a short step does, and waits for the file system's journal.
"""

import asyncio
import contextlib
import shutil
from pathlib import Path


class Workdirs:
    """Directories below `folder`, whose names begin with `prefix`."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder = folder
        self._prefix = prefix
        self._made = 0
        self._empty: list[Path] = []

    def take(self) -> Path:
        """An empty directory that nobody else has."""
        if self._empty:
            return self._empty.pop()
        while True:
            self._made += 1
            path = self._folder / f"{self._prefix}-{self._made}"
            # One may be left from a process of the same number that died.
            with contextlib.suppress(FileExistsError):
                path.mkdir(parents=True)
                return path

    def give_back(self, path: Path) -> None:
        """Nobody uses it any more, and it is empty."""
        self._empty.append(path)

    async def remove(self, path: Path) -> None:
        """Deletes it with all that is in it, if it is there."""
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)

    def close(self) -> None:
        """Removes those that nobody has."""
        for path in self._empty:
            with contextlib.suppress(OSError):
                path.rmdir()
