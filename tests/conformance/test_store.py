"""What every store promises, on each adapter."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect

from penstock.contracts.errors import StateTooNew, StoreUnavailable
from penstock.engine import tables
from penstock.engine.locks import lock_name
from penstock.engine.statement import Statement
from penstock.engine.store import Store
from penstock.engine.stores.postgres import PostgresStore
from penstock.engine.stores.sqlite import MemoryStore, SqliteStore
from tests.simulation.store import Database, SimStore


class Refused(Exception):
    pass


@pytest.fixture(params=["sqlite", "memory", "simulated", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store
    database = Database.calm()
    match request.param:
        case "sqlite":
            made = SqliteStore(tmp_path / "penstock.sqlite")
        case "memory":
            made = MemoryStore()
        case "postgres":
            made = PostgresStore(request.getfixturevalue("database"))
        case _:
            made = SimStore(database)
    yield made
    await made.close()
    database.close()


_put = Statement.insert(tables.spec)
_digests = Statement("SELECT digest FROM spec ORDER BY digest")


def put(connection: Connection, digest: str) -> None:
    _put(connection, workspace="default", digest=digest, bytes=b"spec")


def digests(connection: Connection) -> list[str]:
    return [row[0] for row in _digests.rows(connection)]


async def test_what_a_transaction_wrote_is_there_afterwards(store: Store) -> None:
    await store.transaction(lambda connection: put(connection, "one"))

    assert await store.read(digests) == ["one"]


async def test_a_transaction_returns_what_its_function_returns(store: Store) -> None:
    await store.transaction(lambda connection: put(connection, "one"))

    assert await store.transaction(digests) == ["one"]


async def test_a_transaction_sees_its_own_writes(store: Store) -> None:
    def function(connection: Connection) -> list[str]:
        put(connection, "one")
        return digests(connection)

    assert await store.transaction(function) == ["one"]


async def test_nothing_is_committed_where_the_function_raises(store: Store) -> None:
    def function(connection: Connection) -> None:
        put(connection, "one")
        raise Refused

    with pytest.raises(Refused):
        await store.transaction(function)

    assert await store.read(digests) == []


async def test_the_store_can_be_used_after_a_function_raised(store: Store) -> None:
    def function(connection: Connection) -> None:
        put(connection, "one")
        put(connection, "one")

    with pytest.raises(Exception, match=r"UNIQUE|duplicate key"):
        await store.transaction(function)
    await store.transaction(lambda connection: put(connection, "two"))

    assert await store.read(digests) == ["two"]


async def test_transactions_that_lock_the_same_do_not_overlap(store: Store) -> None:
    def count(connection: Connection) -> None:
        lock_name(connection, "the count")
        put(connection, f"{len(digests(connection)):03d}")

    await asyncio.gather(*(store.transaction(count) for _ in range(20)))

    assert await store.read(digests) == [f"{number:03d}" for number in range(20)]


async def test_a_reader_sees_all_of_a_transaction_or_nothing(store: Store) -> None:
    def both(connection: Connection) -> None:
        put(connection, "one")
        put(connection, "two")

    seen = await asyncio.gather(store.read(digests), store.transaction(both), store.read(digests))

    assert seen[0] in ([], ["one", "two"])
    assert seen[2] in ([], ["one", "two"])


async def test_every_table_is_there_from_the_beginning(store: Store) -> None:
    def names(connection: Connection) -> set[str]:
        return set(inspect(connection).get_table_names())

    assert {"run", "step_run", "attempt", "ready", "timer", "flight", "timeline"} <= await store.read(names)


# A store in a file


async def test_a_file_keeps_what_was_committed(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "penstock.sqlite")
    await first.transaction(lambda connection: put(connection, "one"))
    await first.close()

    second = SqliteStore(tmp_path / "penstock.sqlite")

    assert await second.read(digests) == ["one"]
    await second.close()


async def test_several_processes_may_share_a_file(tmp_path: Path) -> None:
    first, second = SqliteStore(tmp_path / "penstock.sqlite"), SqliteStore(tmp_path / "penstock.sqlite")

    await asyncio.gather(
        *(first.transaction(partial(put, digest=f"a{number}")) for number in range(10)),
        *(second.transaction(partial(put, digest=f"b{number}")) for number in range(10)),
    )

    assert len(await first.read(digests)) == 20
    await first.close()
    await second.close()


async def test_a_file_of_a_newer_penstock_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "penstock.sqlite")
    await store.transaction(lambda connection: connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'").close())
    await store.close()

    with pytest.raises(StateTooNew, match="upgrade"):
        SqliteStore(tmp_path / "penstock.sqlite")


def test_a_file_that_cannot_be_opened_is_said_to_be_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="can't be used"):
        SqliteStore(tmp_path / "missing" / "penstock.sqlite")
