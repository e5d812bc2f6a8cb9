"""Which attempt works on which GPUs: whole ones for it alone, or a share of one where its pool's slots share them.

Runners of one machine never give the same GPU: each holds a lock on a file for those that it has given.
"""

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import AttemptKey, Order
from penstock.contracts.spec import ResourcesSpec
from penstock.runners.gpus import Gpu, ReadGpus

_log = structlog.get_logger(__name__)
VISIBLE = "CUDA_VISIBLE_DEVICES"
_ROUNDING = 1e-6
_LOOK_AGAIN_SECONDS = 0.5
"""Another process tells nobody when it no longer needs a GPU."""

Given = tuple[str, ...] | None
"""The UUIDs of an attempt's GPUs; None: it may use whatever the runner itself sees."""


class NotEnoughGpus(InvalidInput):
    """This runner has fewer GPUs than the step needs."""


@dataclass(frozen=True, slots=True)
class _Wish:
    count: int
    share: float
    """Of each, 1 for whole ones."""


@dataclass(slots=True, eq=False)
class _Device:
    gpu: Gpu
    lock: Path | None
    free: float = 1.0
    held: int = -1
    """The descriptor that holds the lock."""

    def take(self, share: float) -> bool:
        if self.held < 0 and self.lock is not None:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self.held = descriptor
        self.free -= share
        return True

    def give_back(self, share: float) -> None:
        self.free = min(1.0, self.free + share)
        if self.free > 1 - _ROUNDING and self.held >= 0:
            os.close(self.held)
            self.held = -1


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """What an attempt holds until it is given back."""

    devices: tuple[_Device, ...]
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    wish: _Wish
    found: "asyncio.Future[Lease]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Devices:
    """`shares`: how many GPUs a slot of each pool has, where that is defined; below 1, several attempts share one.

    A step that states GPUs gets whole ones; one that states none gets its slot's, and sees none where its slot has none. With
    `is_strict` False, as on a laptop, such a step sees what there is, and so does one that states more than there are. Where NVML finds
    no GPU nothing is given and nothing hidden. `locks` is a folder that all runners of the machine share.
    """

    def __init__(
        self, read: ReadGpus, *, shares: Mapping[str, float] | None = None, is_strict: bool = True, locks: Path | None = None
    ) -> None:
        self._read = read
        self._shares = dict(shares or {})
        self._is_strict = is_strict
        self._locks = locks
        self._known: asyncio.Task[list[_Device]] | None = None
        self._waiting: deque[_Waiting] = deque()
        self._given: dict[AttemptKey, Given] = {}
        self._looking: asyncio.TimerHandle | None = None

    def of(self, order: Order) -> Given:
        """What the order was given."""
        return self._given.get(order.attempt)

    async def take(self, order: Order, resources: ResourcesSpec) -> Lease:
        """Waits until there are enough; whoever came first gets them first. Give the lease back, however the attempt ends.

        :raises NotEnoughGpus: there will never be enough.
        """
        wish = self._wish(order, resources)
        if wish.count == 0 and not self._is_strict:
            return _NOTHING
        devices = await self._devices()
        if not devices:
            return _NOTHING
        if wish.count > len(devices):
            return self._too_many(wish, len(devices))
        lease = await self._leased(wish) if wish.count else _NOTHING
        self._given[order.attempt] = tuple(device.gpu.uuid for device in lease.devices)
        return lease

    def give_back(self, order: Order, lease: Lease) -> None:
        """Once nothing of the attempt runs any more."""
        self._given.pop(order.attempt, None)
        self._release(lease)

    def _wish(self, order: Order, resources: ResourcesSpec) -> _Wish:
        share = self._shares.get(order.pool, 0.0)
        if resources.gpu:
            return _Wish(resources.gpu, 1.0)
        return _Wish(1, share) if 0 < share < 1 else _Wish(int(share), 1.0)

    def _too_many(self, wish: _Wish, count: int) -> Lease:
        if self._is_strict:
            raise NotEnoughGpus(f"the step needs {wish.count} GPUs, and this runner has {count}")
        _log.warning("gpus.too_few", needed=wish.count, here=count, consequence="the step sees all there are")
        return _NOTHING

    async def _devices(self) -> list[_Device]:
        if self._known is None:
            self._known = asyncio.get_running_loop().create_task(asyncio.to_thread(self._found))
        return await asyncio.shield(self._known)

    def _found(self) -> list[_Device]:
        gpus = self._read()
        if gpus and self._locks is not None:
            self._locks.mkdir(parents=True, exist_ok=True)
        return [_Device(gpu, self._locks / gpu.uuid.replace("/", "-") if self._locks is not None else None) for gpu in gpus]

    async def _leased(self, wish: _Wish) -> Lease:
        waiting = _Waiting(wish)
        self._waiting.append(waiting)
        self._serve()
        if not waiting.found.done():
            _log.info("gpus.awaited", count=wish.count, share=wish.share)
        try:
            return await waiting.found
        except asyncio.CancelledError:
            if waiting.found.done() and not waiting.found.cancelled():
                self._release(waiting.found.result())
            else:
                self._serve()
            raise

    def _release(self, lease: Lease) -> None:
        for device in lease.devices:
            device.give_back(lease.share)
        self._serve()

    def _serve(self) -> None:
        """Gives what is free to those who wait, in turn."""
        while self._waiting:
            first = self._waiting[0]
            lease = Lease((), 0.0) if first.found.cancelled() else self._fitting(first.wish)
            if lease is None:
                break
            self._waiting.popleft()
            if not first.found.cancelled():
                first.found.set_result(lease)
        if self._looking is not None:
            self._looking.cancel()
        is_needed = self._waiting and self._locks is not None
        self._looking = asyncio.get_running_loop().call_later(_LOOK_AGAIN_SECONDS, self._serve) if is_needed else None

    def _fitting(self, wish: _Wish) -> Lease | None:
        assert self._known is not None  # noqa: S101  # nobody waits before they are known
        free = [device for device in self._known.result() if device.free > wish.share - _ROUNDING]
        chosen: list[_Device] = []
        # Those that are in use already are filled first: so whole ones stay free.
        for device in sorted(free, key=lambda device: device.free):
            if len(chosen) < wish.count and device.take(wish.share):
                chosen.append(device)
        if len(chosen) == wish.count:
            return Lease(tuple(chosen), wish.share)
        for device in chosen:
            device.give_back(wish.share)
        return None


_NOTHING = Lease((), 0.0)


def variables_of(given: Given) -> dict[str, str]:
    """What a process is told of the GPUs that it was given, before it starts: CUDA looks once."""
    return {} if given is None else {VISIBLE: ",".join(given)}
