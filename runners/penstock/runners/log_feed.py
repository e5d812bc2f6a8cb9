"""Live output: while somebody follows a run, its attempts here send what their guests print. While nobody does, this costs nothing."""

import asyncio
import codecs
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from penstock.contracts.errors import BusUnavailable
from penstock.contracts.messages import FollowLogs, LogChunk, Order, encode
from penstock.runners.log_file import LogFile
from penstock.transport.bus import Bus, Envelope, Exchange

_log = structlog.get_logger(__name__)

CHUNK_BYTES = 32 * 1024
BACKLOG_BYTES = 1024 * 1024
"""Of what was printed before anybody followed, or faster than it is sent: older output is in the stored log only."""
PAUSE_SECONDS = 0.25
_CHUNKS_AT_ONCE = 8
# Where the kept beginning ends, and at the end of all, they are smaller.
_CHUNKS_OF_ALL = BACKLOG_BYTES // CHUNK_BYTES + 2
_LONGEST_SECONDS = 600.0
_REST_SECONDS = 2.0


def _one_byte_each(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "?" * (error.end - error.start), error.end


# A replacement character has three bytes, and offsets would be wrong after it.
codecs.register_error("penstock-one-byte", _one_byte_each)


@dataclass(slots=True, eq=False)
class _Source:
    """An attempt that is being executed, and how much of its output was sent."""

    order: Order
    step: str
    log: Callable[[], LogFile]
    sent: int = 0
    is_new_to_somebody: bool = False


class LogFeed:
    """Shared by the launchers of a runner, which tell of their logs, and the runner, which hears who follows."""

    def __init__(self, bus: Bus, *, pause: float = PAUSE_SECONDS) -> None:
        self._bus = bus
        self._pause = pause
        self._sources: set[_Source] = set()
        self._followed: dict[str, float] = {}
        """Until when, in the event loop's seconds, by run."""
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        """Pieces of an attempt go out in their order."""

    def follow(self, asked: FollowLogs) -> None:
        """Sends the output of that run's attempts for a while."""
        until = asyncio.get_running_loop().time() + min(asked.seconds, _LONGEST_SECONDS)
        if asked.is_new:
            for source in self._sources:
                if source.order.run_id == asked.run_id:
                    source.is_new_to_somebody = True
        self._followed[asked.run_id] = max(until, self._followed.get(asked.run_id, until))
        self._wake.set()

    @asynccontextmanager
    async def showing(self, order: Order, step: str, log: Callable[[], LogFile]) -> AsyncGenerator[None]:
        """Inside of the block the log is sent as it grows, if somebody follows; what is left of it at the block's end."""
        source = _Source(order, step, log)
        self._sources.add(source)
        try:
            yield
            if self.is_followed(source.order.run_id):
                await self._send_rest(source)
        finally:
            self._sources.discard(source)

    async def run(self) -> None:
        """Sends for as long as it isn't cancelled."""
        while True:
            self._wake.clear()
            if not self._followed:
                await self._wake.wait()
            self._forget()
            try:
                for source in [source for source in self._sources if self.is_followed(source.order.run_id)]:
                    await self._send(source)
            except BusUnavailable as error:
                _log.warning("log.not_sent", reason=str(error))
            except Exception as error:  # noqa: BLE001  # whoever watches must not end who works
                _log.error("log.not_sent", reason=f"{type(error).__name__}: {error}")
            await asyncio.sleep(self._pause)

    def is_followed(self, run_id: str) -> bool:
        return run_id in self._followed

    def _forget(self) -> None:
        now = asyncio.get_running_loop().time()
        self._followed = {run: until for run, until in self._followed.items() if until > now}

    async def _send_rest(self, source: _Source) -> None:
        try:
            async with asyncio.timeout(_REST_SECONDS):
                await self._send(source, is_whole=True)
        except (BusUnavailable, TimeoutError):
            _log.warning("log.not_sent", reason="the bus is away", consequence="who follows gets the end from the stored log")

    async def _send(self, source: _Source, *, is_whole: bool = False) -> None:
        """What is new of it, as far as it goes into a few pieces."""
        async with self._sending:
            for _ in range(_CHUNKS_OF_ALL if is_whole else _CHUNKS_AT_ONCE):
                if source.is_new_to_somebody:
                    source.sent, source.is_new_to_somebody = 0, False
                log = source.log()
                begin, data = log.since(max(source.sent, log.length - BACKLOG_BYTES), CHUNK_BYTES)
                text, taken = _decoded(data)
                if not taken:
                    return
                await self._bus.publish(_envelope(source, begin, text))
                source.sent = begin + taken


def _envelope(source: _Source, offset: int, text: str) -> Envelope:
    order = source.order
    chunk = LogChunk(run_id=order.run_id, step=source.step, index=order.index, attempt=order.attempt.attempt_no, offset=offset, text=text)
    return Envelope(exchange=Exchange.LOGS, key=order.run_id, body=encode(chunk))


def _decoded(data: bytes) -> tuple[str, int]:
    """Text that has as many bytes as were taken; a character that is cut in two waits for its other half."""
    decoder = codecs.getincrementaldecoder("utf-8")("penstock-one-byte")
    text = decoder.decode(data)
    return text.replace("\x00", "?"), len(data) - len(decoder.getstate()[0])
