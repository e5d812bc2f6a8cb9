"""The store on SQLite: one writer thread, one reader thread, write-ahead log. Several processes may share the file."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from penstock.contracts.errors import StoreUnavailable
from penstock.engine.migration import NEWEST, migrate, version_of

T = TypeVar("T")

_BUSY_MILLISECONDS = 60_000
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MILLISECONDS}", "cache_size=-65536", "temp_store=MEMORY")


def connect(path: Path | None, begin: str) -> Engine:
    """An engine on the file (None: in memory) whose transactions start with `begin`; it holds one connection."""
    engine = create_engine(
        f"sqlite:///{path}" if path is not None else "sqlite://",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL,
    }
)  # fmt: skip
"""What may be over when it is tried again; anything else (a missing column, say) stays wrong."""


def _may_pass(error: OperationalError | sqlite3.OperationalError) -> bool:
    cause = error.orig if isinstance(error, OperationalError) else error
    # The low byte is the primary code.
    return isinstance(cause, sqlite3.OperationalError) and (cause.sqlite_errorcode & 0xFF) in _PASSING


class SqliteStore:
    """A state database in a file. It is backed up beside itself before a migration.

    :raises StateTooNew: a newer Penstock wrote the file.
    :raises StoreUnavailable: the file can't be opened.
    """

    is_concurrent = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = connect(path, "BEGIN IMMEDIATE")
        self._reader = connect(path, "BEGIN")
        self._connections: dict[Engine, Connection] = {}
        """Kept open: taking one from the pool costs as much as a short transaction."""
        self._write_thread = ThreadPoolExecutor(1, "penstock-store")
        self._read_thread = ThreadPoolExecutor(1, "penstock-reader")
        with ExitStack() as failing:
            failing.callback(self._dispose)
            try:
                self._migrate()
            except DatabaseError as error:
                raise self._unavailable(error) from error
            failing.pop_all()

    def _migrate(self) -> None:
        with self._reader.begin() as connection:
            version = version_of(connection)
        if version == NEWEST:
            return
        if version is not None and version < NEWEST:
            self._back_up(version)
        with self._writer.begin() as connection:
            migrate(connection, str(self._path))

    def _back_up(self, version: str) -> None:
        backup = self._path.with_suffix(f".{version}.backup")
        with closing(sqlite3.connect(self._path)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)

    async def transaction(self, function: Callable[[Connection], T]) -> T:
        return await self._handed_to(self._write_thread, self._writer, function)

    async def read(self, function: Callable[[Connection], T]) -> T:
        return await self._handed_to(self._read_thread, self._reader, function)

    def _handed_to(self, thread: ThreadPoolExecutor, engine: Engine, function: Callable[[Connection], T]) -> asyncio.Future[T]:
        try:
            return asyncio.get_running_loop().run_in_executor(thread, self._run, engine, function)
        except RuntimeError as error:
            # An interpreter that ends takes threads' work away before it calls whoever would close the store.
            raise StoreUnavailable(
                f"the state database {self._path} can't be used any more: this process ends, or has closed it"
            ) from error

    def _run(self, engine: Engine, function: Callable[[Connection], T]) -> T:
        if engine not in self._connections:
            self._connections[engine] = engine.connect()
        connection = self._connections[engine]
        try:
            with connection.begin():
                return function(connection)
        except (OperationalError, sqlite3.OperationalError) as error:
            if not _may_pass(error):
                raise
            raise self._unavailable(error) from error

    def _unavailable(self, error: DatabaseError | sqlite3.OperationalError) -> StoreUnavailable:
        text = str(error.orig if isinstance(error, DatabaseError) else error)
        if "full" in text:
            hint = "free some disk space; nothing is lost, the run goes on with `penstock resume`"
        elif "not a database" in text or "malformed" in text:
            hint = "it is damaged: put a copy back, or move it away; the cache is then built again"
        else:
            hint = "see whether the folder is writable"
        return StoreUnavailable(f"the state database {self._path} can't be used: {text} ({hint})")

    async def close(self) -> None:
        self._write_thread.shutdown()
        self._read_thread.shutdown()
        self._dispose()

    def _dispose(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._writer.dispose()
        self._reader.dispose()


class MemoryStore:
    """A state database in memory, called directly: the same SQL without threads, for simulation."""

    is_concurrent = False

    def __init__(self) -> None:
        self._engine = connect(None, "BEGIN")
        with self._engine.begin() as connection:
            migrate(connection, "the store in memory")

    async def transaction(self, function: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            return function(connection)

    async def read(self, function: Callable[[Connection], T]) -> T:
        return await self.transaction(function)

    async def close(self) -> None:
        self._engine.dispose()
