"""One process of `make up`: its command, its variables, its log, and when it is ready."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class NotStarted(Exception):
    """Something that is needed is not installed, or ended, or did not answer; the text says where to look."""


@dataclass(slots=True, kw_only=True)
class Process:
    """`stop_signal` asks it to end in order, and it has `stop_seconds` for it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    is_ready: Callable[[], bool]
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 30.0
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def ended(self) -> int | None:
        """Its exit code, if it was started and is no more."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, cwd=self.folder, env=dict(self.environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def wait_ready(self, seconds: float = 90.0) -> None:
        """:raises NotStarted: it ended, or is not ready in time."""
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if self.ended is not None:
                raise NotStarted(f"{self.name} ended with {self.ended}:\n{self._last_lines()}\nMore is in {self.log}")
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name} is not ready after {seconds:g} s:\n{self._last_lines()}\nMore is in {self.log}")
            time.sleep(0.05)

    def ask_to_stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.stop_signal)

    def wait_stopped(self) -> None:
        """Kills it with all its group if it takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def _last_lines(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


def accepts(port: int) -> Callable[[], bool]:
    """Whether somebody listens there."""

    def asked() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    return asked


def says_ready(health_port: int) -> Callable[[], bool]:
    """Whether a service's /readyz is good."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def asked() -> bool:
        try:
            with opener.open(f"http://127.0.0.1:{health_port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    return asked
