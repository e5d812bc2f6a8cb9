"""The log of an attempt: a file that keeps the beginning and the end of what a guest wrote, and counts what it dropped between."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from penstock.runners.masking import MASK


def log_path(state: Path, run_id: str, step: str, index: Sequence[int], attempt: int) -> Path:
    """Where a launcher keeps the log of an attempt under its state folder, while it runs and afterwards."""
    return state / "logs" / run_id / step / (".".join(map(str, index)) or "-") / f"{attempt}.log"


class LogFile:
    """Nothing is created until something is written. `limit` bytes are kept of each end; `secrets` are masked by exact value."""

    def __init__(self, path: Path, limit: int, secrets: Sequence[bytes] = ()) -> None:
        self.path = path
        self._limit = limit
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)
        self._held = b""
        """The end of what came, which may be the beginning of a secret."""
        self._file: BinaryIO | None = None
        self._head = 0
        self._tail = bytearray()
        self._dropped = 0

    @property
    def is_empty(self) -> bool:
        return self._file is None

    @property
    def length(self) -> int:
        """How many bytes were written so far, dropped ones among them; without an end that may be the beginning of a secret."""
        return self._head + self._dropped + len(self._tail)

    def since(self, offset: int, count: int) -> tuple[int, bytes]:
        """At most `count` of the bytes from `offset` on, and where they begin: further on where some were dropped."""
        if offset < self._head:
            try:
                with self.path.open("rb") as file:
                    file.seek(offset)
                    if data := file.read(min(count, self._head - offset)):
                        return offset, data
            except OSError:
                pass
            # A full disk has kept it from being written.
            offset = self._head
        begin = max(offset, self._head + self._dropped)
        place = begin - self._head - self._dropped
        return begin, bytes(self._tail[place : place + count])

    def write(self, data: bytes) -> None:
        """Takes a piece of output, cut anywhere."""
        if self._secrets:
            data = self._masked(self._held + data)
            data, self._held = self._split(data)
        self._keep(data)

    def close(self) -> None:
        """Writes the end that was kept back. May be called again."""
        if self._file is not None and self._file.closed:
            return
        self._keep(self._masked(self._held))
        self._held = b""
        if self._file is None:
            return
        self._shorten_tail()
        if self._dropped:
            self._write(f"\n... {self._dropped:,} bytes dropped ...\n".encode())
        self._write(bytes(self._tail))
        self._file.close()

    def end(self, count: int) -> str:
        """The last lines of a closed log, `count` bytes at most."""
        if self._file is None:
            return ""
        with self.path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - count))
            text = file.read().decode(errors="replace")
        return text if size <= count else text.partition("\n")[2]

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb", buffering=0)
        room = self._limit - self._head
        if room > 0:
            self._head += len(data[:room])
            self._write(data[:room])
        self._tail += data[max(room, 0) :]
        if len(self._tail) > 2 * self._limit:
            self._shorten_tail()

    def _write(self, data: bytes) -> None:
        # A full disk must not end a step that only prints.
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.write(data)

    def _shorten_tail(self) -> None:
        surplus = len(self._tail) - self._limit
        if surplus > 0:
            del self._tail[:surplus]
            self._dropped += surplus

    def _masked(self, data: bytes) -> bytes:
        for secret in self._secrets:
            data = data.replace(secret, MASK.encode())
        return data

    def _split(self, data: bytes) -> tuple[bytes, bytes]:
        """What is surely no beginning of a secret, and the rest."""
        end = len(data)
        for secret in self._secrets:
            start = data.find(secret[:1], max(0, len(data) - len(secret) + 1))
            while 0 <= start < end:
                if secret.startswith(data[start:]):
                    end = start
                else:
                    start = data.find(secret[:1], start + 1)
        return data[:end], data[end:]
