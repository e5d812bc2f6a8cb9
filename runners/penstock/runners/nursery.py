"""Where guests come from: zygotes by what they have imported, the bare one for what must not be forked, and warm guests for reuse."""

import asyncio
import signal
import sys
from collections.abc import Collection
from dataclasses import dataclass, field

import structlog

from penstock.contracts.errors import InfrastructureError
from penstock.runners.devices import VISIBLE
from penstock.runners.guest_process import Guest
from penstock.runners.zygote_process import Readiness, ZygoteProcess

_log = structlog.get_logger(__name__)
_ZYGOTES_KEPT = 8
"""Zygotes kept without work, the most recently used ones; each holds the memory of what it imported."""


@dataclass(frozen=True, slots=True)
class Nest:
    """What a zygote has: a snapshot, a module of it, its project's folder, its variables, its interpreter. A bare one has the last two."""

    snapshot: str = ""
    module: str = ""
    project: str = ""
    variables: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    python: str = sys.executable

    @property
    def devices(self) -> frozenset[str]:
        """The GPUs that its guests see, where that is stated."""
        return frozenset(dict(self.variables).get(VISIBLE, "").split(",")) - {""}

    def bare(self) -> "Nest":
        return Nest(project=self.project, variables=self.variables, python=self.python)


@dataclass(frozen=True, slots=True)
class Taken:
    """A guest, and whether it was forked from a process that had imported user code. `may_hang`: such code that uses OpenMP."""

    guest: Guest
    is_forked: bool
    may_hang: bool = False


class Nursery:
    """Starts zygotes as they are needed; `ahead` guests of each are forked ahead."""

    def __init__(self, *, ahead: int) -> None:
        self._ahead = ahead
        self._zygotes: dict[Nest, ZygoteProcess] = {}
        self._verdicts: dict[Nest, str] = {}
        """Why what was imported there must not be forked."""
        self._warm: dict[Nest, list[Guest]] = {}
        """Guests between two attempts that are executed one after another in the same process."""
        self._closing: set[asyncio.Task[None]] = set()
        self.zygotes_started = 0

    async def forked(self, nest: Nest) -> Taken:
        """A guest forked from a zygote that has imported the module; from a bare one where that must not be.

        :raises InfrastructureError: no interpreter can be started here.
        """
        if nest in self._verdicts:
            return await self.spawned(nest)
        zygote = self._zygote(nest)
        ready = await asyncio.shield(zygote.ready)
        if self._may_fork(nest, ready):
            try:
                return Taken(await zygote.take(), is_forked=True, may_hang=ready.uses_openmp)
            except InfrastructureError:
                _log.warning("zygote.lost", module=nest.module)
        return await self.spawned(nest)

    async def spawned(self, nest: Nest) -> Taken:
        """A guest that has imported nothing of the user's: it imports the module itself.

        :raises InfrastructureError: as `forked`.
        """
        zygote = self._zygote(nest.bare())
        ready = await asyncio.shield(zygote.ready)
        if ready.failure is not None:
            raise InfrastructureError(f"no guest can be started: {ready.failure['message']}")
        return Taken(await zygote.take(), is_forked=False)

    async def warm(self, nest: Nest) -> Taken:
        """A guest that has executed attempts of this nest already, else one that will.

        :raises InfrastructureError: as `forked`.
        """
        resting = self._warm.get(nest, [])
        while resting:
            guest = resting.pop()
            if not guest.exited.done():
                return Taken(guest, is_forked=False)
            guest.close()
        return await self.spawned(nest)

    def keep(self, nest: Nest, guest: Guest) -> None:
        """Takes back a guest that waits for its next attempt."""
        self._warm.setdefault(nest, []).append(guest)

    async def clear(self, devices: Collection[str], nest: Nest) -> None:
        """Ends resting guests of other nests that may hold memory of these GPUs."""
        for other in [other for other in self._warm if other != nest and not other.devices.isdisjoint(devices)]:
            for guest in self._warm.pop(other):
                guest.close()
                guest.kill(signal.SIGKILL)
                await guest.exited

    async def close(self) -> None:
        for guest in [guest for resting in self._warm.values() for guest in resting]:
            guest.close()
        await asyncio.gather(*(zygote.close() for zygote in self._zygotes.values()), *self._closing)
        self._zygotes.clear()

    def _may_fork(self, nest: Nest, ready: Readiness) -> bool:
        if ready.failure is None and not ready.reason:
            return True
        if ready.reason and nest not in self._verdicts:
            self._verdicts[nest] = ready.reason
            _log.warning("zygote.cannot_fork", reason=ready.reason, consequence="each attempt imports the module anew")
        # Where the import failed, the attempt's own import shows how, with its output in the attempt's log.
        self._discard(nest)
        return False

    def _zygote(self, nest: Nest) -> ZygoteProcess:
        zygote = self._zygotes.pop(nest, None)
        if zygote is not None and not zygote.is_alive:
            self._retire(zygote)
            zygote = None
        if zygote is None:
            self.zygotes_started += 1
            zygote = ZygoteProcess(
                snapshot=nest.snapshot,
                module=nest.module,
                project=nest.project,
                environment=dict(nest.variables),
                ahead=self._ahead,
                python=nest.python,
            )
        # The last one of a dict is the most recently used.
        self._zygotes[nest] = zygote
        idle = [other for other, there in self._zygotes.items() if there.is_idle and other != nest]
        for other in idle[: max(0, len(self._zygotes) - _ZYGOTES_KEPT)]:
            self._discard(other)
        return zygote

    def _discard(self, nest: Nest) -> None:
        zygote = self._zygotes.pop(nest, None)
        if zygote is not None:
            self._retire(zygote)

    def _retire(self, zygote: ZygoteProcess) -> None:
        task = asyncio.get_running_loop().create_task(zygote.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
