"""The runner's side of a guest: its socket, its output, its end."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.runners.frames import FrameBuffer, FrameError, pack

_READ_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Exit:
    """How a guest process ended. `status` is a wait status; None: its zygote died before it could tell."""

    status: int | None
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


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
