"""A server process of the tests' own: a private folder, ports of its own, and an end that leaves nothing, even when pytest is killed."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.servers import keeper

_PARENT = Path(tempfile.gettempdir())
"""Read before any test has a temporary folder of its own: other users reach it, and the paths of sockets in it stay short."""

_PORTS = range(20000, 32000)
"""Below the range from which the kernel takes ports for outgoing connections: a restarted server finds its port free again."""

_REMOVAL_SECONDS = 120.0
"""A folder of many databases takes its time on a busy disk."""

_reserved: list[socket.socket] = []


class ServerNotStarted(Exception):
    """A private server ended or did not answer in time; the text holds the end of its log."""


class Server(ABC):
    """One server process in a folder of its own. A kind of server says its command, its environment and when it is ready."""

    program = ""
    """What must be installed, and the package that has it: `rabbitmq-server (apt-get install rabbitmq-server)`."""
    start_seconds = 60.0

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"penstock-{name}-", dir=_PARENT))
        self.log = self.folder / "output.log"
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, str(self.folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it serves. Asked again and again after the start."""

    def environment(self) -> dict[str, str]:
        """The variables of its processes. Nothing of the developer's own gets in, except where programs are found."""
        return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self.folder), keeper.MARKER: str(self.folder)}

    @property
    def process_id(self) -> int:
        if self._process is None:
            raise ServerNotStarted(f"{type(self).__name__} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Returns when it serves."""
        self.launch()
        self.wait_until_ready()
        return self

    def launch(self) -> None:
        """Starts the process without waiting for it."""
        self._process = self.spawn(self.command())

    def spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        """A process in a session of its own that ends with the server's folder at the latest."""
        if shutil.which(command[0]) is None:
            raise ServerNotStarted(f"{command[0]} is not installed. These tests need {self.program}")
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, env=self.environment(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_ready(self) -> None:
        def ready_or_ended() -> bool:
            return not self.is_running or self.is_ready()

        try:
            wait_until(ready_or_ended, seconds=self.start_seconds, what=f"{type(self).__name__} serves")
        except TimeoutError as error:
            raise ServerNotStarted(f"{error}\n{self.log_text()[-4000:]}") from error
        if not self.is_running:
            raise ServerNotStarted(f"{type(self).__name__} ended by itself:\n{self.log_text()[-4000:]}")

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self) -> None:
        """Lets it end in order. It can be started again, with its data."""
        self.end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut for the process: kill -9 of it and of all its children."""
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals, *, seconds: float = 30.0) -> None:
        if self._process is None:
            return
        if number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def restart(self) -> Self:
        self.stop()
        return self.start()

    def pause(self) -> None:
        os.killpg(self.process_id, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.process_id, signal.SIGCONT)

    def close(self) -> None:
        """Ends everything of it and removes its folder."""
        if self.is_running:
            self.kill()
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        self._keeper.wait(_REMOVAL_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_port() -> int:
    """A port that nobody listens at, and that no other test takes as long as this process lives."""
    for port in random.SystemRandom().sample(_PORTS, 200):
        # An abstract name is free again at its owner's death and leaves no file.
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0penstock-test-port-{port}")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        _reserved.append(reservation)
        return port
    raise ServerNotStarted(f"no free port found between {_PORTS.start} and {_PORTS.stop}")


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens at that port."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Another process sets no event of ours: its condition is looked at again and again."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain until {what}")
        time.sleep(0.02)
