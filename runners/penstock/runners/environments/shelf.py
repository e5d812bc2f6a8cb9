"""The environments of this machine: each built once, shared by all who use it, and removed when nobody has for long."""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.runners.environments.builds import EnvironmentBroken, Recipe, Tell, build
from penstock.runners.environments.guest_path import guest_path
from penstock.runners.environments.locks import alone, if_unused, in_use

_KEPT = 20
_KEPT_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Installed:
    """The interpreter of an environment, and the variables that belong to it."""

    python: str
    variables: dict[str, str]


class _Build:
    """A build that several attempts wait for: each hears all of it."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.listeners: list[Tell] = []
        self.task: asyncio.Task[None]

    def tell(self, data: bytes) -> None:
        self.said.append(data)
        for listener in self.listeners:
            listener(data)


class Environments:
    """`folder` holds one folder an environment. At most `kept` that nobody uses stay, none that was unused for `kept_seconds`."""

    def __init__(self, folder: Path, *, kept: int = _KEPT, kept_seconds: float = _KEPT_SECONDS) -> None:
        self._folder = folder
        self._kept = kept
        self._kept_seconds = kept_seconds
        self._builds: dict[str, _Build] = {}

    @asynccontextmanager
    async def lease(self, recipe: Recipe, tell: Tell) -> AsyncGenerator[Installed]:
        """The environment, built if it is not there; it stays as long as this lasts. `tell` gets what a build prints.

        :raises EnvironmentBroken: it can't be built.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            with in_use(self._lock(recipe.name)) as may_use:
                if may_use and self._is_whole(recipe.name):
                    yield self._installed(recipe.name)
                    return
            await self._built(recipe, tell)

    async def close(self) -> None:
        """Stops builds."""
        tasks = [one.task for one in self._builds.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _lock(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

    def _is_whole(self, name: str) -> bool:
        # A link to an interpreter that was removed since leads nowhere.
        return (self._folder / name / "bin" / "python").exists()

    def _installed(self, name: str) -> Installed:
        place = self._folder / name
        path = os.pathsep.join(filter(None, [str(place / "bin"), os.environ.get("PATH", "")]))
        variables = {"PATH": path, "VIRTUAL_ENV": str(place), "PYTHONPATH": str(guest_path(self._folder))}
        return Installed(str(place / "bin" / "python"), variables)

    async def _built(self, recipe: Recipe, tell: Tell) -> None:
        found = self._builds.get(recipe.name)
        if found is None:
            found = self._builds[recipe.name] = _Build()
            found.task = asyncio.create_task(self._build(recipe, found))
            found.task.add_done_callback(lambda task: self._ended(recipe.name, task))
        for data in found.said:
            tell(data)
        found.listeners.append(tell)
        try:
            # Whoever gives up waiting leaves the build to the others, and to the next attempt.
            await asyncio.shield(found.task)
        finally:
            found.listeners.remove(tell)

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        del self._builds[name]
        if not task.cancelled():
            # Whoever waits for it tells of its error; perhaps nobody does any more.
            task.exception()

    async def _build(self, recipe: Recipe, waiters: _Build) -> None:
        place = self._folder / recipe.name
        waiting = f"penstock: another process builds the environment {recipe.name}\n".encode()
        async with alone(self._lock(recipe.name), lambda: waiters.tell(waiting)):
            if self._is_whole(recipe.name):
                # Another process has built it meanwhile.
                return
            for leftover in (place, *self._folder.glob(f".building-{recipe.name}-*")):
                await asyncio.to_thread(shutil.rmtree, leftover, ignore_errors=True)
            staging = self._folder / f".building-{recipe.name}-{secrets.token_hex(4)}"
            try:
                await build(recipe, staging, place, waiters.tell)
            except OSError as error:
                raise EnvironmentBroken(f"the environment can't be written: {error}") from error
        await asyncio.to_thread(self._tidy)

    def _tidy(self) -> None:
        """Removes what nobody uses: the least recently used ones beyond the limit, and those unused for long."""
        now = time.time()
        used = {lock.stem: lock.stat().st_mtime for lock in self._folder.glob("*.lock") if (self._folder / lock.stem).is_dir()}
        by_age = sorted(used, key=used.__getitem__, reverse=True)
        for name in [name for rank, name in enumerate(by_age) if rank >= self._kept or now - used[name] > self._kept_seconds]:
            with if_unused(self._lock(name)) as is_unused:
                if is_unused:
                    gone = self._folder / f".building-{name}-removed"
                    (self._folder / name).rename(gone)
                    shutil.rmtree(gone, ignore_errors=True)
