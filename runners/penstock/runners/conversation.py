"""One attempt's talk with its guest: the order goes out, paths are answered, output is logged, limits are held, an outcome comes back."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Protocol

from penstock.contracts.errors import ArtifactLost, PenstockError
from penstock.runners.checkpoints import LOADED, AttemptCheckpoint
from penstock.runners.group_usage import cpu_seconds
from penstock.runners.guest_process import Exit, Guest
from penstock.runners.launcher import ReportProgress
from penstock.runners.log_file import LogFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    timeout_seconds: float | None = None
    import_seconds: float = 0.0
    """So much longer it may take until the guest has imported the module; then the timeout counts."""
    memory_bytes: int | None = None
    grace_seconds: float = 5.0
    """Between SIGTERM and SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How it went. `outcome` is what the guest told, None if it told nothing; `stopped` why it was stopped: `timeout` or `memory`."""

    outcome: dict[str, Any] | None
    exit: Exit | None = None
    stopped: str = ""
    is_kept: bool = False
    """The guest waits for another order."""
    was_stuck: bool = False
    """Stopped by its deadline without having used the CPU in the last part of its time."""


class Blobs(Protocol):
    """Where a guest finds the bytes that it asks for: the part of an artifact store that it may use."""

    async def local(self, digest: str) -> PurePath: ...


class Conversation:
    """Used once."""

    def __init__(  # what a guest may ask for
        self,
        guest: Guest,
        artifacts: Blobs,
        log: LogFile,
        limits: Limits,
        progress: ReportProgress,
        checkpoint: AttemptCheckpoint | None = None,
    ) -> None:
        self._guest = guest
        self._checkpoint = checkpoint
        self._artifacts = artifacts
        self._log = log
        self._limits = limits
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[dict[str, Any] | None] = self._loop.create_future()
        self._answers: set[asyncio.Task[None]] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._stopped = ""
        self._was_stuck = False
        self._is_kept = False
        self._cpu_before = 0.0

    @property
    def pid(self) -> int:
        return self._guest.pid

    async def hold(self, order: dict[str, Any]) -> Ending:
        """Sends the order and waits for the end. Cancelled, it stops the guest before it returns."""
        self._guest.attend(self._on_frame, self._log.write)
        self._start_timers(self._limits.import_seconds)
        try:
            with contextlib.suppress(ConnectionError):
                await self._guest.send(["order", order])
            outcome = await self._outcome
            if outcome is None:
                return await self._without_outcome()
            self._guest.drain()
            self._is_kept = bool(order.get("more")) and not self._stopped
            return Ending(outcome=outcome, stopped=self._stopped, is_kept=self._is_kept)
        except asyncio.CancelledError:
            await asyncio.shield(self._end())
            raise
        finally:
            self._finish()

    def exceed_memory(self) -> None:
        """Called by who watches it: its group uses more than it may."""
        if not self._stopped:
            self._stopped = "memory"
            self._guest.kill(signal.SIGKILL)

    async def _without_outcome(self) -> Ending:
        how = await self._end()
        self._guest.drain()
        return Ending(outcome=None, exit=how, stopped=self._stopped, was_stuck=self._was_stuck)

    async def _end(self) -> Exit:
        """Stops it and waits until it has ended."""
        exited = self._guest.exited
        for number, seconds in ((signal.SIGTERM, self._limits.grace_seconds), (signal.SIGKILL, None)):
            # Its socket closes a moment before it is reaped: then the first signal finds nobody.
            if not exited.done():
                self._guest.kill(number)
                await asyncio.wait([exited], timeout=seconds)
        return exited.result() if exited.done() else Exit(None)

    def _start_timers(self, more: float) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._limits.timeout_seconds is not None:
            seconds = self._limits.timeout_seconds + more
            self._timers.append(self._loop.call_later(seconds * 0.8, self._note_cpu))
            self._timers.append(self._loop.call_later(seconds, self._time_out))

    def _note_cpu(self) -> None:
        self._cpu_before = cpu_seconds(self._guest.pid)

    def _time_out(self) -> None:
        if self._outcome.done() or self._stopped:
            return
        self._was_stuck = cpu_seconds(self._guest.pid) == self._cpu_before
        self._stopped = "timeout"
        self._outcome.set_result(None)

    def _on_frame(self, frame: list[Any] | None) -> None:
        match frame:
            case ["outcome", dict()]:
                self._settle(frame[1])
            case ["progress", float(done), float() | None as total, str(text)]:
                self._progress(done, total, text)
            case ["imported"]:
                # A timeout is about the step, however long its module takes to import.
                self._start_timers(0.0)
            case ["local", str(digest)]:
                self._reply(self._answer(digest))
            case ["save checkpoint"] if self._checkpoint is not None:
                self._reply(self._save(self._checkpoint))
            case ["load checkpoint"] if self._checkpoint is not None:
                self._reply(self._load(self._checkpoint))
            case _:
                self._settle(None)

    def _settle(self, outcome: dict[str, Any] | None) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def _reply(self, answer: Coroutine[Any, Any, list[str]]) -> None:
        """Sends what the guest waits for, once it is known."""

        async def send() -> None:
            try:
                found = await answer
            except (OSError, PenstockError) as error:
                found = ["failed", str(error)]
            with contextlib.suppress(OSError):
                await self._guest.send(found)

        task = self._loop.create_task(send())
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, digest: str) -> list[str]:
        try:
            return ["path", str(await self._artifacts.local(digest))]
        except ArtifactLost as error:
            return ["lost", str(error)]

    async def _save(self, checkpoint: AttemptCheckpoint) -> list[str]:
        await checkpoint.save()
        return ["saved"]

    async def _load(self, checkpoint: AttemptCheckpoint) -> list[str]:
        return ["path", LOADED] if await checkpoint.load() else ["none"]

    def _finish(self) -> None:
        for timer in self._timers:
            timer.cancel()
        for task in self._answers:
            task.cancel()
        self._log.close()
        if self._is_kept:
            self._guest.rest()
            return
        self._guest.close()
        if not self._guest.exited.done():
            # It has told its outcome, so it is about to end; one that lingers is ended.
            lingering = self._loop.call_later(self._limits.grace_seconds, self._guest.kill, signal.SIGKILL)
            self._guest.exited.add_done_callback(lambda _: lingering.cancel())
