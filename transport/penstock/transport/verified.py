"""Which blobs were verified, remembered across processes: digest to the file's signature at that time.

It may forget, and then a blob is hashed again; it never says "verified" of a file that changed since. So every trouble with its own
file is met by forgetting.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

# Two writes within one tick of a file system's clock (4 ms, 10 on old kernels) leave the same times behind.
SETTLED_NANOSECONDS = 50_000_000
_AT_ONCE = 500

_CREATE = """CREATE TABLE IF NOT EXISTS verified (
    digest TEXT PRIMARY KEY, inode TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL
) WITHOUT ROWID"""
_SELECT = "SELECT digest, inode, size, mtime_ns, ctime_ns FROM verified WHERE digest IN"


class Signature(NamedTuple):
    """What changes when a file changes."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    def is_settled(self) -> bool:
        """Whether a later change would show: the last one is older than a tick of the file system's clock."""
        return time.time_ns() - max(self.mtime_ns, self.ctime_ns) > SETTLED_NANOSECONDS


def signature_of(status: os.stat_result) -> Signature:
    return Signature(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class VerifiedMemo:
    """The memo in the SQLite file `path`, which may be shared, deleted or damaged at any time.

    A connection is opened for each operation (0.1 ms) and none is kept, so nothing is carried across a fork.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def known(self, digests: Iterable[str]) -> dict[str, Signature]:
        """What is remembered of `digests`."""
        asked = list(digests)
        rows: list[tuple[str, str, int, int, int]] = []
        if asked and self._path.exists():
            with self._connected() as connection:
                for start in range(0, len(asked), _AT_ONCE):
                    part = asked[start : start + _AT_ONCE]
                    rows += connection.execute(f"{_SELECT} ({','.join('?' * len(part))})", part)
        return {digest: Signature(int(inode), size, mtime_ns, ctime_ns) for digest, inode, size, mtime_ns, ctime_ns in rows}

    def remember(self, signatures: Mapping[str, Signature]) -> None:
        if not signatures:
            return
        rows = [(digest, str(it.inode), it.size, it.mtime_ns, it.ctime_ns) for digest, it in signatures.items()]
        with self._connected() as connection:
            # Losing rows in a power cut costs a hash each; waiting for the disk would cost more.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(_CREATE)
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO verified VALUES (?, ?, ?, ?, ?)", rows)
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _connected(self) -> Generator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=1.0, isolation_level=None)) as connection:
                yield connection
        except sqlite3.OperationalError:
            return  # Busy, full or read-only: nothing is remembered this time.
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                self._path.unlink()
