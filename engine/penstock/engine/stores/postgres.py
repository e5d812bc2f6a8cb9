"""The store on PostgreSQL, for any number of coordinators. Transactions run side by side: whoever changes a run locks its row first."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import structlog
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from penstock.contracts.errors import StateTooNew, StoreUnavailable
from penstock.engine.exchange import Exchange
from penstock.engine.migration import NEWEST, migrate, version_of
from penstock.engine.statement import OWED

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.store")

CONNECTIONS = 4
"""Kept open; twice as many when there is much to read at a time."""
TRIES = 8
"""Of a transaction that met another one: a deadlock, or rows that changed under it."""
_CONNECT_SECONDS = 10.0
_STATEMENT_SECONDS = 60.0
IDLE_SECONDS = 30.0
"""So long a coordinator may stand still inside a transaction. Whoever waits for its locks gives up later than that."""
_SESSION = {
    "application_name": "penstock",
    # Its compilation costs more than any of these statements.
    "jit": "off",
    # It must notice a client whose host is gone: what that had locked is free then.
    "tcp_keepalives_idle": "20",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "40s",
}
"""What every connection has the server do; addresses without keepalives take no notice of theirs."""
_STATEMENTS = 500
"""Prepared ones that a connection keeps; there are about a hundred."""
_MET_ANOTHER = frozenset({"40001", "40P01"})
_PASSING = ("08", "53", "57P", "58")
"""SQLSTATE classes of what may be over when it is tried again: connections, resources, an operator, the system; and read-only."""
_READ_ONLY = "25006"
_STOOD_STILL = "25P03"
"""The server has ended a session that did nothing inside a transaction."""


class _Lost(Exception):
    """The connection is gone. Before the commit was asked for, nothing was done; later, nobody knows."""

    def __init__(self, cause: BaseException, *, may_be_done: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.may_be_done = may_be_done


class PostgresStore:
    """A state database on a server. `open` it before use; its schema is brought up to date by `upgrade` alone."""

    is_concurrent = True

    def __init__(self, url: str, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._url = url
        self._idle_seconds = idle_seconds
        self.place = without_password(url)
        self._engine = self._connected()
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def _connected(self) -> AsyncEngine:
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            isolation_level="READ COMMITTED",
            pool_size=CONNECTIONS,
            max_overflow=CONNECTIONS,
            pool_timeout=_CONNECT_SECONDS,
            connect_args={"prepared_statement_cache_size": _STATEMENTS},
        )

        @event.listens_for(engine.sync_engine, "checkout")
        def _look(connection: Any, _record: Any, _proxy: Any) -> None:
            if connection.driver_connection.is_closed():
                # Another one is taken then: without a question to the server, this finds those that a restart has ended.
                raise DisconnectionError

        return engine

    async def _connect(self) -> Any:
        return await asyncpg.connect(
            self._url,
            timeout=_CONNECT_SECONDS,
            command_timeout=_STATEMENT_SECONDS,
            statement_cache_size=_STATEMENTS,
            server_settings=_SESSION | {"idle_in_transaction_session_timeout": f"{self._idle_seconds * 1000:.0f}ms"},
        )

    async def open(self) -> None:
        """Looks whether the database is there and of use.

        :raises StoreUnavailable: it can't be reached, or its schema is too old.
        :raises StateTooNew: a newer Penstock has upgraded it.
        """
        version = await self.read(version_of)
        if version is None or version < NEWEST:
            found = "is empty" if version is None else f"has the schema {version}, this Penstock needs {NEWEST}"
            raise StoreUnavailable(f"the database {self.place} {found}: run `penstock db upgrade` once, then start again")
        if version > NEWEST:
            raise StateTooNew(
                f"the database {self.place} was upgraded by a newer Penstock (schema {version}; this one knows {NEWEST}): "
                "install that version here too"
            )

    async def upgrade(self) -> bool:
        """Brings the schema up to date; whether there was anything to do. Two at once do no harm: one waits for the other."""

        def function(connection: Connection) -> bool:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended('penstock schema', 0))")
            return migrate(connection, f"the database {self.place}")

        return await self.transaction(function)

    async def transaction(self, function: Callable[[Connection], T]) -> T:
        return await self._tried(self._engine, function)

    async def read(self, function: Callable[[Connection], T]) -> T:
        # All its statements see the same state.
        return await self._tried(self._reading, function)

    async def close(self) -> None:
        await self._engine.dispose()

    async def _tried(self, engine: AsyncEngine, function: Callable[[Connection], T]) -> T:
        has_reconnected = False
        for tried in range(TRIES):
            try:
                return await self._once(engine, function)
            except _Lost as lost:
                if lost.may_be_done or has_reconnected or not _is_lost(lost.cause):
                    raise self._unavailable(lost.cause, may_be_done=lost.may_be_done) from lost.cause
                # A server that was restarted has ended the connections of the pool, and nobody may have noticed yet.
                has_reconnected = True
            except Exception as error:
                if _is_refused(error):
                    raise self._unavailable(error) from error
                if _state_of(error) not in _MET_ANOTHER or tried == TRIES - 1:
                    raise
                log.info("transaction.again", reason=_state_of(error), tried=tried + 1)
        raise AssertionError("the last try returns or raises")

    async def _once(self, engine: AsyncEngine, function: Callable[[Connection], T]) -> T:
        # One greenlet for all of it: each costs as much as a statement.
        return await greenlet_spawn(self._in_transaction, engine.sync_engine, function)

    def _in_transaction(self, engine: Engine, function: Callable[[Connection], T]) -> T:
        with self._connection(engine) as connection:
            committing = False
            try:
                # Said aloud, since statements go to the driver's cursor, which SQLAlchemy does not see.
                connection.begin()
                result = _gathered(connection, function)
                committing = True
                connection.commit()
            except BaseException as error:
                if isinstance(error, Exception) and not _may_pass(error):
                    raise
                # The driver can't be trusted to know what state this connection is in.
                connection.invalidate()
                if not isinstance(error, Exception):
                    raise
                raise _Lost(error, may_be_done=committing) from error
            return result

    @contextmanager
    def _connection(self, engine: Engine) -> Generator[Connection]:
        try:
            connection = engine.connect()
        except Exception as error:
            if isinstance(error, PoolTimeout) or _may_pass(error) or _is_refused(error):
                raise self._unavailable(error) from error
            raise
        try:
            yield connection
        finally:
            connection.close()

    def _unavailable(self, error: BaseException, *, may_be_done: bool = False) -> StoreUnavailable:
        if may_be_done:
            return StoreUnavailable(f"the connection to the database {self.place} was lost while it committed: {_text(error)}")
        return StoreUnavailable(f"the database {self.place} can't be used: {_text(error)} ({_hint(error)})")


def _gathered(connection: Connection, function: Callable[[Connection], T]) -> T:
    """What `function` writes row by row goes to the server in few exchanges."""
    exchange = Exchange(lambda sql, values: connection.connection.cursor().execute(sql, values))
    connection.info[OWED] = exchange
    try:
        result = function(connection)
        exchange.flush()
    finally:
        # It stays with the driver's connection, which others get later.
        connection.info.pop(OWED, None)
    return result


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, user + place, parts.path, "", ""))


def _cause_of(error: BaseException) -> BaseException:
    """What the driver raised, under what SQLAlchemy makes of it."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    return error.__cause__ if error.__cause__ is not None and _is_adapted(error) else error


def _is_adapted(error: BaseException) -> bool:
    return type(error).__module__.startswith("sqlalchemy.")


def _state_of(error: BaseException) -> str | None:
    state: str | None = getattr(_cause_of(error), "sqlstate", None)
    return state


def _is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, or never was."""
    cause = _cause_of(error)
    state = _state_of(error) or ""
    is_gone = isinstance(cause, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError)
    return is_gone or state.startswith(("08", "57P", _STOOD_STILL))


def _may_pass(error: BaseException) -> bool:
    """Whether it may be over when it is tried again; anything else (a missing column, say) stays wrong."""
    state = _state_of(error) or ""
    return isinstance(error, asyncio.CancelledError) or _is_lost(error) or state.startswith(_PASSING) or state == _READ_ONLY


def _is_refused(error: BaseException) -> bool:
    """Whether the server does not let us in."""
    return (_state_of(error) or "").startswith(("28", "3D", "42501"))


def _text(error: BaseException) -> str:
    cause = _cause_of(error)
    return str(cause).strip() or type(cause).__name__


def _hint(error: BaseException) -> str:
    state = _state_of(error) or ""
    if state.startswith("28"):
        return "see the user and the password in PENSTOCK_DATABASE_URL"
    if state.startswith("3D"):
        return "create it (`createdb`), or correct its name in PENSTOCK_DATABASE_URL"
    if state.startswith("42501"):
        return "GRANT this user the rights on the database"
    if state.startswith("53"):
        return "give the server more room: connections, memory or disk"
    if state == _READ_ONLY:
        return "this server is a replica: name the primary in PENSTOCK_DATABASE_URL"
    return "see that PostgreSQL runs there and can be reached from here; what was begun goes on when it is back"
