"""The runner's side of a zygote: its process, and the guests that it hands over."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.contracts.errors import InfrastructureError
from penstock.runners.frames import MESSAGE_BYTES, FrameError, pack_message, unpack
from penstock.runners.guest_process import Exit, Guest

_CLOSING_SECONDS = 10.0
_PROGRAM = "from penstock.runners.zygote import main; main()"


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a zygote tells once it has imported its module. `reason`: why it must not be forked; empty where it may."""

    failure: dict[str, str] | None = None
    reason: str = ""
    uses_openmp: bool = False


class ZygoteProcess:
    """A running zygote. `ready` is awaited before guests are taken; `ahead` guests are kept forked ahead."""

    def __init__(  # what its interpreter is started with
        self, *, snapshot: str, module: str, project: str, environment: Mapping[str, str], ahead: int, python: str = sys.executable
    ) -> None:
        self.ready: asyncio.Future[Readiness] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._ahead = ahead
        self._idle: deque[Guest] = deque()
        self._waiting: deque[asyncio.Future[Guest]] = deque()
        self._coming = 0
        self._guests: dict[int, Guest] = {}
        self._closed = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the zygote lives
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [python, "-P", "-c", _PROGRAM, str(theirs.fileno()), snapshot, module, project],
                env=dict(environment),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
            )
        self._control.setblocking(False)
        self._loop.add_reader(self._control.fileno(), self._hear)

    @property
    def is_alive(self) -> bool:
        return not self._closed

    @property
    def is_idle(self) -> bool:
        """Whether none of its guests is at work."""
        return len(self._guests) == len(self._idle) and not self._waiting

    async def take(self) -> Guest:
        """A guest that has not begun; another is forked in its place.

        :raises InfrastructureError: the zygote is gone.
        """
        if self._closed:
            raise InfrastructureError(f"the zygote is gone: {self._complaint()}")
        if self._idle:
            guest = self._idle.popleft()
            self._top_up()
            return guest
        waiter: asyncio.Future[Guest] = self._loop.create_future()
        self._waiting.append(waiter)
        self._top_up()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # It came in the moment in which nobody wanted it any more.
                self._idle.append(waiter.result())
            raise

    async def close(self) -> None:
        """Kills its guests and ends it; returns when the process has ended."""
        # Before it is ready it has no guests to see to, and may import for long.
        if not self.ready.done():
            self._process.kill()
        self._gone()
        await asyncio.to_thread(self._wait)
        self._errors.close()

    def _wait(self) -> None:
        try:
            self._process.wait(_CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _top_up(self) -> None:
        waiting = sum(not waiter.done() for waiter in self._waiting)
        missing = self._ahead + waiting - len(self._idle) - self._coming
        if missing > 0:
            self._coming += missing
            self._say(["fork", missing])

    def _say(self, message: list[Any]) -> None:
        try:
            self._control.send(pack_message(message))
        except BlockingIOError:
            # It reads all that it is sent, as soon as it is not importing or forking.
            self._control.setblocking(True)
            self._control.send(pack_message(message))
            self._control.setblocking(False)
        except OSError:
            self._gone()

    def _hear(self) -> None:
        # Whole messages, until nothing is left: a burst of exits is one wake-up.
        while not self._closed:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 2)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self._gone()
                return
            self._heard(unpack(data), descriptors)

    def _heard(self, message: list[Any], descriptors: list[int]) -> None:
        match message:
            case ["child", int(pid)]:
                self._coming -= 1
                self._received(Guest(pid, socket.socket(fileno=descriptors[0]), descriptors[1], lambda number: self._kill(pid, number)))
            case ["exit", int(pid), int(status), float(cpu_seconds), int(peak)]:
                guest = self._guests.pop(pid, None)
                if guest is not None:
                    self._ended(guest, Exit(status, cpu_seconds, peak))
            case ["ready", str(reason), bool(uses_openmp)]:
                self._is_ready(Readiness(reason=reason, uses_openmp=uses_openmp))
            case ["failed", dict()]:
                self._is_ready(Readiness(failure=message[1]))
            case _:
                raise FrameError(f"a zygote does not say {message[0]!r}")

    def _is_ready(self, readiness: Readiness) -> None:
        if not self.ready.done():
            self.ready.set_result(readiness)

    def _received(self, guest: Guest) -> None:
        self._guests[guest.pid] = guest
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(guest)
                return
        self._idle.append(guest)

    def _ended(self, guest: Guest, how: Exit) -> None:
        if guest in self._idle:
            self._idle.remove(guest)
            guest.close()
        if not guest.exited.done():
            guest.exited.set_result(how)

    def _kill(self, pid: int, number: int) -> None:
        if pid in self._guests:
            self._say(["kill", pid, int(number)])

    def _gone(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        for guest in list(self._guests.values()):
            _kill_group(guest.pid)
            self._ended(guest, Exit(None))
        self._guests.clear()
        self._is_ready(Readiness(failure={"kind": "environment", "message": f"the zygote ended: {self._complaint()}"}))
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(InfrastructureError(f"the zygote ended: {self._complaint()}"))

    def _complaint(self) -> str:
        if self._errors.closed:
            return "it was closed"
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 2000))
        return self._errors.read().decode(errors="replace").strip() or "without a word"


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        return
