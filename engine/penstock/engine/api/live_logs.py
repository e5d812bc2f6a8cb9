"""Live logs: while somebody follows a run, runners send pieces of their attempts' output, and this keeps the newest of each.

Without such pieces (no runner sends any, or the bus is away) there is nothing live; the stored log comes when the attempt has ended.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import structlog

from penstock.contracts.errors import BusUnavailable, ContractError
from penstock.contracts.messages import FollowLogs, LogChunk, decode, encode
from penstock.transport.bus import Bus, Envelope, Exchange

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.api")

KEPT_BYTES = 1024 * 1024
"""Of one attempt."""
KEPT_ATTEMPTS = 64
"""Of one run."""
FOLLOWED_RUNS = 100
Place = tuple[str, tuple[int, ...], int]
"""Step, index, attempt."""


@dataclass(slots=True)
class Tail:
    """The newest output of an attempt: `data` begins `start` bytes after its beginning."""

    start: int = 0
    data: bytearray = field(default_factory=bytearray)

    def add(self, offset: int, piece: bytes) -> None:
        """Takes a piece; what is known is left out, and what came before a gap is forgotten."""
        end = self.start + len(self.data)
        if offset > end:
            self.start, self.data = offset, bytearray(piece)
        else:
            self.data += piece[end - offset :]
        if (over := len(self.data) - KEPT_BYTES) > 0:
            del self.data[:over]
            self.start += over

    def after(self, offset: int) -> tuple[int, bytes]:
        """What there is from `offset` on, and where that begins."""
        begin = min(max(offset, self.start), self.start + len(self.data))
        return begin, bytes(self.data[begin - self.start :])


@dataclass(slots=True)
class _Followed:
    task: "asyncio.Task[None]"
    asked_at: float
    tails: dict[Place, Tail] = field(default_factory=dict[Place, Tail])
    came: asyncio.Event = field(default_factory=asyncio.Event)


class LiveLogs:
    """Follows a run's logs from the first question on until nobody has asked for `seconds`."""

    def __init__(self, bus: Bus, seconds: float = 30.0) -> None:
        self._bus = bus
        self._seconds = seconds
        self._followed: dict[str, _Followed] = {}

    async def after(self, run_id: str, place: Place, offset: int, wait: float) -> tuple[int, bytes]:
        """The live output of an attempt from `offset` on, once there is some or `wait` seconds are over; and where it begins."""
        followed = self._follow(run_id)
        deadline = asyncio.get_running_loop().time() + wait
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while followed is not None and not self._found(followed, place, offset)[1]:
                    followed.came.clear()
                    await followed.came.wait()
        return self._found(followed, place, offset) if followed is not None else (offset, b"")

    def close(self) -> None:
        """Follows nothing any more."""
        for followed in self._followed.values():
            followed.task.cancel()
        self._followed.clear()

    @staticmethod
    def _found(followed: _Followed, place: Place, offset: int) -> tuple[int, bytes]:
        tail = followed.tails.get(place)
        return tail.after(offset) if tail is not None else (offset, b"")

    def _follow(self, run_id: str) -> _Followed | None:
        loop = asyncio.get_running_loop()
        followed = self._followed.get(run_id)
        if followed is None:
            if len(self._followed) >= FOLLOWED_RUNS:
                return None
            followed = _Followed(loop.create_task(self._listen(run_id)), loop.time())
            self._followed[run_id] = followed
        followed.asked_at = loop.time()
        return followed

    async def _listen(self, run_id: str) -> None:
        try:
            async with self._bus.listen(Exchange.LOGS, run_id) as listener, asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(self._ask(run_id))
                hearing = tasks.create_task(self._hear(listener.__aiter__(), run_id))
                asking.add_done_callback(lambda _: hearing.cancel())
        except* BusUnavailable as errors:
            log.warning("bus.lost", reason=str(errors.exceptions[0]))
        finally:
            self._followed.pop(run_id, None)

    async def _ask(self, run_id: str) -> None:
        """Asks runners again and again, until nobody asks here any more."""
        loop = asyncio.get_running_loop()
        is_new = True
        while (followed := self._followed.get(run_id)) is not None and loop.time() - followed.asked_at < self._seconds:
            body = encode(FollowLogs(run_id=run_id, seconds=self._seconds, is_new=is_new))
            await self._bus.publish(Envelope(exchange=Exchange.CONTROL, body=body))
            is_new = False
            await asyncio.sleep(self._seconds / 3)

    async def _hear(self, pieces: AsyncIterator[bytes], run_id: str) -> None:
        async for body in pieces:
            try:
                message = decode(body)
            except ContractError as error:
                log.warning("log.refused", reason=str(error))
                continue
            followed = self._followed.get(run_id)
            if followed is not None and isinstance(message, LogChunk) and message.run_id == run_id:
                self._keep(followed, message)

    @staticmethod
    def _keep(followed: _Followed, chunk: LogChunk) -> None:
        place = (chunk.step, chunk.index, chunk.attempt)
        if place not in followed.tails and len(followed.tails) >= KEPT_ATTEMPTS:
            followed.tails.pop(next(iter(followed.tails)))
        followed.tails.setdefault(place, Tail()).add(chunk.offset, chunk.text.encode())
        followed.came.set()
