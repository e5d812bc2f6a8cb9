"""The runner's side of a zygote: its process, and the guests that it hands over."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.contracts.errors import InfrastructureError
from penstock.runners.frames import MESSAGE_BYTES, FrameBuffer, FrameError, pack, pack_message, unpack

_PROGRAM = "from penstock.runners.zygote import main; main()"
_READ_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Exit:
    """How a guest process ended. `status` is a wait status; None: its zygote died before it could tell."""

    status: int | None
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a zygote tells once it has imported its module. `reason`: why it must not be forked; empty where it may."""

    failure: dict[str, str] | None = None
    reason: str = ""
    uses_openmp: bool = False


class Guest:
    """A guest process: its socket, the reading end of its output, and its end."""

    def __init__(self, pid: int, stream: socket.socket, output: int, kill: Callable[[int], None]) -> None:
        self.pid = pid
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._output = output
        self._kill = kill
        self._frames = FrameBuffer()
        self._sending = asyncio.Lock()
        self._on_frame: Callable[[list[Any] | None], None] = lambda _: None
        self._on_output: Callable[[bytes], None] = lambda _: None
        stream.setblocking(False)
        os.set_blocking(output, False)

    def attend(self, on_frame: Callable[[list[Any] | None], None], on_output: Callable[[bytes], None]) -> None:
        """Calls `on_frame` with each frame, None at the end, and `on_output` with what the guest prints."""
        self._on_frame, self._on_output = on_frame, on_output
        self._loop.add_reader(self._stream.fileno(), self._read_frames)
        self._loop.add_reader(self._output, self._read_output)

    async def send(self, frame: list[Any]) -> None:
        async with self._sending:
            await self._loop.sock_sendall(self._stream, pack(frame))

    def kill(self, number: signal.Signals) -> None:
        """Sends a signal to all processes of the guest's group."""
        self._kill(number)

    def drain(self) -> None:
        """Reads what the guest has printed so far."""
        while self._output >= 0 and self._read_output():
            pass

    def rest(self) -> None:
        """Attends to it no more until it has its next order."""
        self._loop.remove_reader(self._stream.fileno())
        if self._output >= 0:
            self._loop.remove_reader(self._output)

    def close(self) -> None:
        """Forgets its socket and output. The process is the zygote's to reap."""
        if self._stream.fileno() >= 0:
            self._loop.remove_reader(self._stream.fileno())
            self._stream.close()
        self._close_output()

    def _read_frames(self) -> None:
        try:
            data = self._stream.recv(_READ_BYTES)
            frames = self._frames.feed(data)
        except BlockingIOError:
            return
        except (ConnectionError, FrameError):
            data, frames = b"", []
        for frame in frames:
            self._on_frame(frame)
        if not data and self._stream.fileno() >= 0:
            self._loop.remove_reader(self._stream.fileno())
            self._on_frame(None)

    def _read_output(self) -> bool:
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._close_output()
            return False
        self._on_output(data)
        return True

    def _close_output(self) -> None:
        if self._output >= 0:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = -1


class ZygoteProcess:
    """A running zygote. `ready` is awaited before guests are taken; `ahead` guests are kept forked ahead."""

    def __init__(self, *, snapshot: str, module: str, project: str, environment: Mapping[str, str], ahead: int, cache: str) -> None:
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
                [sys.executable, "-P", "-X", f"pycache_prefix={cache}", "-c", _PROGRAM, str(theirs.fileno()), snapshot, module, project],
                env=dict(environment), pass_fds=[theirs.fileno()], start_new_session=True, cwd="/",
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._errors,
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
        return await waiter

    async def close(self) -> None:
        """Kills its guests and ends it; returns when the process has ended."""
        self._gone()
        await asyncio.to_thread(self._process.wait)
        self._errors.close()

    def _top_up(self) -> None:
        waiting = sum(not waiter.done() for waiter in self._waiting)
        missing = self._ahead + waiting - len(self._idle) - self._coming
        if missing > 0:
            self._coming += missing
            self._say(["fork", missing])

    def _say(self, message: list[Any]) -> None:
        try:
            self._control.send(pack_message(message))
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
            case ["failed", dict(failure)]:
                self._is_ready(Readiness(failure=failure))
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
