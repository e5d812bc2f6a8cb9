"""What the store on PostgreSQL promises beyond what every store does: transactions side by side, a server that comes and goes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from penstock.contracts.errors import StateTooNew, StoreUnavailable
from penstock.engine import tables
from penstock.engine.locks import lock_free_name, lock_free_runs, lock_name, lock_runs
from penstock.engine.migration import NEWEST, version_of
from penstock.engine.statement import Statement
from penstock.engine.stores.postgres import PostgresStore
from tests.servers.postgres import PASSWORD, PostgresServer

PATIENCE_SECONDS = 20.0
_put = Statement.insert(tables.spec)
_digests = Statement("SELECT digest FROM spec ORDER BY digest")
_make_run = Statement(
    "INSERT INTO run (workspace, run_id, pipeline, number, name, spec_digest, state, params, options, cause, tags, open, seq, created_at) "
    "VALUES ('default', :run_id, 'p', 1, 'p-1', 'd', 'running', :nothing, '{}', '{}', '{}', 0, 0, 0)"
)
_seq = Statement("SELECT seq FROM run WHERE run_no = :run_no")
_set_seq = Statement("UPDATE run SET seq = :seq WHERE run_no = :run_no")
_count = Statement("UPDATE run SET seq = seq + 1 WHERE run_no = :run_no")
_sleep = Statement("SELECT pg_sleep(:seconds)")


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(database)
    yield made
    await made.close()


@pytest.fixture
async def neighbour(database: str) -> AsyncIterator[PostgresStore]:
    """What another coordinator has."""
    made = PostgresStore(database)
    yield made
    await made.close()


def put(connection: Connection, digest: str) -> None:
    _put(connection, workspace="default", digest=digest, bytes=b"spec")


def digests(connection: Connection) -> list[str]:
    return [row[0] for row in _digests.rows(connection)]


def make_runs(connection: Connection, count: int) -> None:
    _make_run.many(connection, [{"run_id": f"run{number}", "nothing": b""} for number in range(count)])


class Gate:
    """A transaction that stops in the middle until it is let on."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.is_reached = asyncio.Event()
        self._may_go_on = asyncio.Event()

    async def hold(self, function: Callable[[Connection], Any]) -> None:
        """Has `function` done, and does not commit before `let_on`."""
        store = PostgresStore(self._url)
        engine = store._engine  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - a transaction that is held open is no use but in tests
        async with engine.connect() as connection:
            await connection.begin()
            await connection.run_sync(function)
            self.is_reached.set()
            await self._may_go_on.wait()
            await connection.commit()
        await store.close()

    def let_on(self) -> None:
        self._may_go_on.set()


# Side by side


async def test_no_update_is_lost_where_two_coordinators_count_in_one_run(store: PostgresStore, neighbour: PostgresStore) -> None:
    def count(connection: Connection) -> None:
        lock_runs(connection, [1])
        _set_seq(connection, run_no=1, seq=_seq.number(connection, run_no=1) + 1)

    await store.transaction(partial(make_runs, count=1))

    await asyncio.gather(*(one.transaction(count) for _ in range(20) for one in (store, neighbour)))

    assert await store.read(partial(_seq.number, run_no=1)) == 40


async def test_who_wants_a_run_that_another_one_decides_waits_and_sees_what_came_of_it(database: str, store: PostgresStore) -> None:
    await store.transaction(partial(make_runs, count=1))
    gate = Gate(database)

    def first(connection: Connection) -> None:
        lock_runs(connection, [1])
        _set_seq(connection, run_no=1, seq=7)

    def second(connection: Connection) -> int:
        lock_runs(connection, [1])
        return _seq.number(connection, run_no=1)

    holding = asyncio.create_task(gate.hold(first))
    await gate.is_reached.wait()
    waiting = asyncio.create_task(store.transaction(second))
    await _until_somebody_waits(store)
    assert not waiting.done()
    gate.let_on()

    assert await waiting == 7
    await holding


async def test_dispatch_does_not_wait_for_runs_that_somebody_decides(database: str, store: PostgresStore) -> None:
    await store.transaction(partial(make_runs, count=3))
    gate = Gate(database)
    holding = asyncio.create_task(gate.hold(partial(lock_runs, runs=[2])))
    await gate.is_reached.wait()

    free = await store.transaction(partial(lock_free_runs, runs=[1, 2, 3]))

    assert free == {1, 3}
    gate.let_on()
    await holding


async def test_who_decides_does_not_wait_for_who_dispatches(database: str, store: PostgresStore) -> None:
    gate = Gate(database)
    holding = asyncio.create_task(gate.hold(lambda connection: lock_name(connection, "slots of", "cpu")))
    await gate.is_reached.wait()

    assert not await store.transaction(lambda connection: lock_free_name(connection, "slots of", "cpu"))
    assert await store.transaction(lambda connection: lock_free_name(connection, "slots of", "gpu"))

    gate.let_on()
    await holding
    assert await store.transaction(lambda connection: lock_free_name(connection, "slots of", "cpu"))


async def test_coordinators_that_wait_for_each_other_both_come_through(store: PostgresStore, neighbour: PostgresStore) -> None:
    await store.transaction(partial(make_runs, count=2))
    calls: list[tuple[int, int]] = []

    def both(connection: Connection, order: tuple[int, int]) -> None:
        calls.append(order)
        for run_no in order:
            _count(connection, run_no=run_no)
            _sleep.rows(connection, seconds=0.2)

    await asyncio.gather(store.transaction(partial(both, order=(1, 2))), neighbour.transaction(partial(both, order=(2, 1))))

    assert len(calls) == 3, "one of them was chosen to try again"
    assert [await store.read(partial(_seq.number, run_no=run_no)) for run_no in (1, 2)] == [2, 2]


async def test_a_reader_sees_one_state_in_all_its_statements(database: str, store: PostgresStore, neighbour: PostgresStore) -> None:
    def twice(connection: Connection) -> tuple[list[str], list[str]]:
        before = digests(connection)
        _sleep.rows(connection, seconds=0.5)
        return before, digests(connection)

    reading = asyncio.create_task(store.read(twice))
    await _until(neighbour, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    await neighbour.transaction(partial(put, digest="one"))

    before, after = await reading
    assert before == after == []


# The server


async def test_a_server_that_is_killed_is_unavailable_and_keeps_what_was_committed(postgres: PostgresServer, store: PostgresStore) -> None:
    await store.transaction(partial(put, digest="one"))
    postgres.kill()

    with pytest.raises(StoreUnavailable, match=r"can't be used.*see that PostgreSQL runs there"):
        await store.transaction(partial(put, digest="two"))

    postgres.start()
    await store.transaction(partial(put, digest="three"))
    assert await store.read(digests) == ["one", "three"]


async def test_a_server_that_is_killed_in_the_middle_has_done_nothing(postgres: PostgresServer, store: PostgresStore) -> None:
    def function(connection: Connection) -> None:
        put(connection, "one")
        postgres.kill()
        put(connection, "two")

    with pytest.raises(StoreUnavailable):
        await store.transaction(function)

    postgres.start()
    assert await store.read(digests) == []


async def test_a_server_that_is_killed_before_the_commit_leaves_it_unknown(postgres: PostgresServer, store: PostgresStore) -> None:
    def function(connection: Connection) -> None:
        put(connection, "one")
        postgres.kill()

    with pytest.raises(StoreUnavailable, match="while it committed"):
        await store.transaction(function)

    postgres.start()
    assert await store.read(digests) in ([], ["one"])


async def test_a_session_that_is_ended_in_the_middle_is_not_noticed(postgres: PostgresServer, database: str, store: PostgresStore) -> None:
    ended: list[int] = []

    def function(connection: Connection) -> None:
        put(connection, "one")
        if not ended:
            ended.append(postgres.kill_backends(database.rpartition("/")[2]))
        put(connection, "two")

    await store.transaction(function)

    assert ended == [1]
    assert await store.read(digests) == ["one", "two"]


async def test_a_restarted_server_is_not_noticed(postgres: PostgresServer, store: PostgresStore) -> None:
    await asyncio.gather(*(store.read(digests) for _ in range(4)))
    postgres.restart()

    await store.transaction(partial(put, digest="one"))

    assert await asyncio.gather(*(store.read(digests) for _ in range(4))) == [["one"]] * 4


async def test_a_cancelled_transaction_does_nothing_and_harms_nobody(store: PostgresStore) -> None:
    def function(connection: Connection) -> None:
        put(connection, "one")
        _sleep.rows(connection, seconds=30.0)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await store.transaction(function)

    await store.transaction(partial(put, digest="two"))
    assert await store.read(digests) == ["two"]


_STANDS_STILL = """
import asyncio, os, signal, sys
from penstock.engine.locks import lock_runs
from penstock.engine.statement import Statement
from penstock.engine.stores.postgres import PostgresStore

calls = []

def function(connection):
    lock_runs(connection, [1])
    calls.append(1)
    if len(calls) == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    Statement("UPDATE run SET seq = seq + 1 WHERE run_no = :run_no")(connection, run_no=1)

async def main():
    store = PostgresStore(sys.argv[1], idle_seconds=1)
    await store.transaction(function)
    await store.close()

asyncio.run(main())
"""


async def test_a_coordinator_that_stands_still_in_a_transaction_frees_its_runs_and_goes_on_later(
    database: str, store: PostgresStore
) -> None:
    await store.transaction(partial(make_runs, count=1))
    process = subprocess.Popen([sys.executable, "-c", _STANDS_STILL, database])  # noqa: ASYNC220  # it is waited for in a thread
    try:
        _, status = await asyncio.to_thread(os.waitpid, process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

        async with asyncio.timeout(PATIENCE_SECONDS):
            await store.transaction(lambda connection: lock_runs(connection, [1]))

        process.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(process.wait, PATIENCE_SECONDS) == 0
    finally:
        process.kill()
    assert await store.read(partial(_seq.number, run_no=1)) == 1


# What is said where it can't be used


async def test_a_wrong_password_is_said_without_showing_it(postgres: PostgresServer) -> None:
    store = PostgresStore(postgres.url(password="wrong"))

    with pytest.raises(StoreUnavailable, match=r"postgresql://postgres@127\.0\.0\.1.*the password in PENSTOCK_DATABASE_URL") as error:
        await store.open()

    assert "wrong" not in str(error.value)


async def test_a_missing_database_is_named(postgres: PostgresServer) -> None:
    with pytest.raises(StoreUnavailable, match=r'"nowhere" does not exist \(create it'):
        await PostgresStore(postgres.url("nowhere")).open()


async def test_missing_rights_are_said(postgres: PostgresServer, database: str) -> None:
    postgres.query("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN PASSWORD 'secret'")
    store = PostgresStore(database.replace("//postgres:", "//stranger:"))

    with pytest.raises(StoreUnavailable, match=r"permission denied.*GRANT this user the rights"):
        await store.transaction(partial(put, digest="one"))

    await store.close()
    assert PASSWORD not in store.place


async def test_a_server_that_is_not_there_is_said() -> None:
    with pytest.raises(StoreUnavailable, match="see that PostgreSQL runs there"):
        await PostgresStore("postgresql://somebody@127.0.0.1:1/penstock").open()


# The schema


async def test_an_empty_database_is_refused_until_it_is_upgraded(empty_database: str) -> None:
    store = PostgresStore(empty_database)
    with pytest.raises(StoreUnavailable, match="penstock db upgrade"):
        await store.open()

    assert await store.upgrade()

    await store.open()
    assert not await store.upgrade()
    await store.close()


async def test_two_upgrades_at_once_do_no_harm(empty_database: str) -> None:
    stores = [PostgresStore(empty_database) for _ in range(3)]

    did = await asyncio.gather(*(store.upgrade() for store in stores))

    assert sorted(did) == [False, False, True]
    assert await stores[0].read(version_of) == NEWEST
    for store in stores:
        await store.close()


async def test_a_database_of_a_newer_penstock_is_refused(postgres: PostgresServer, database: str, store: PostgresStore) -> None:
    postgres.query("UPDATE alembic_version SET version_num = '9999'", database.rpartition("/")[2])

    with pytest.raises(StateTooNew, match="newer Penstock"):
        await store.open()


async def _until_somebody_waits(store: PostgresStore) -> None:
    await _until(store, "SELECT count(*) FROM pg_locks WHERE NOT granted")


async def _until(store: PostgresStore, count: str) -> None:
    condition = Statement(count)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await store.read(condition.number):
            await asyncio.sleep(0.01)
