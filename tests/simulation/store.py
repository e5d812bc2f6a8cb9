"""The store of a simulation: the real SQL on SQLite in memory, called directly, with a life of faults around each commit."""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Connection

from penstock.contracts.errors import StoreUnavailable
from penstock.engine.migration import migrate
from penstock.engine.stores.sqlite import connect

T = TypeVar("T")


@dataclass(slots=True)
class StoreFaults:
    """How likely each thing is, for one transaction."""

    unreachable: float = 0.0
    rolled_back: float = 0.0
    """It fails before the commit."""
    unknown: float = 0.0
    """It fails after the commit."""


class Database:
    """What survives every crash. `when_committed` looks at each new state."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.faults = StoreFaults()
        self.when_committed: Callable[[], None] = lambda: None
        self._engine = connect(None, "BEGIN")
        self._connection = self._engine.connect()
        driver: Any = self._connection.connection.driver_connection
        driver.deserialize(_empty())
        driver.execute("PRAGMA synchronous=OFF")
        self._driver: sqlite3.Connection = driver

    @classmethod
    def calm(cls) -> "Database":
        """One without faults."""
        return cls(random.Random(0))

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What is committed."""
        return self._driver.execute(sql, values).fetchall()

    def write(self, function: Callable[[Connection], T], *, roll_back: bool = False) -> T:
        transaction = self._connection.begin()
        try:
            result = function(self._connection)
        except BaseException:
            transaction.rollback()
            raise
        if roll_back:
            transaction.rollback()
            raise StoreUnavailable("the commit failed")
        transaction.commit()
        self.when_committed()
        return result

    def read(self, function: Callable[[Connection], T]) -> T:
        with self._connection.begin() as transaction:
            result = function(self._connection)
            transaction.rollback()
            return result

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


class SimStore:
    """One party's way to the database. `is_concurrent`: dispatch may be a transaction by itself, as with parallel transactions."""

    def __init__(self, database: Database, *, is_concurrent: bool = False) -> None:
        self._database = database
        self.is_concurrent = is_concurrent

    async def transaction(self, function: Callable[[Connection], T]) -> T:
        faults = self._database.faults
        await self._pause(faults.unreachable)
        result = self._database.write(function, roll_back=self._chance(faults.rolled_back))
        await self._pause(faults.unknown)
        return result

    async def read(self, function: Callable[[Connection], T]) -> T:
        await self._pause(self._database.faults.unreachable)
        return self._database.read(function)

    async def close(self) -> None:
        return

    def _chance(self, probability: float) -> bool:
        return probability > 0 and self._database.rng.random() < probability

    async def _pause(self, failing: float) -> None:
        await asyncio.sleep(self._database.rng.random() * 0.01 if self._chance(0.1) else 0.0)
        if self._chance(failing):
            raise StoreUnavailable("the connection to the store was lost")


@cache
def _empty() -> bytes:
    """A database with the newest schema."""
    engine = connect(None, "BEGIN")
    with engine.begin() as connection:
        migrate(connection, "the store of the simulation")
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        data: bytes = driver.serialize()
    engine.dispose()
    return data
