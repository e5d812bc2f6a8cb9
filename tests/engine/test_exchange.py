"""Small writes of a transaction go to a server together, and do what they do one by one."""

from typing import Any

import pytest

from penstock.engine.exchange import MOST, Exchange, tables_in, together
from penstock.engine.statement import Statement
from penstock.engine.stores.postgres import PostgresStore

Sent = list[tuple[str, tuple[Any, ...]]]
_put = Statement("INSERT INTO timer (run_no, kind, node, item, fire_at) VALUES (:run_no, 'backoff', :node, 0, :fire_at)")
_move = Statement("UPDATE timer SET fire_at = fire_at + :more WHERE run_no = :run_no", rows_differ=True)
_drop = Statement("DELETE FROM timer WHERE run_no = :run_no")
_share = Statement("INSERT INTO fair_share (workspace, pool, run_no, tag) VALUES ('default', 'cpu', :run_no, :tag)")
_count = Statement("UPDATE fair_share SET tag = tag + 1 WHERE run_no = :run_no")
_timers = Statement("SELECT run_no, node, fire_at FROM timer ORDER BY run_no, node")
_tags = Statement("SELECT run_no, tag FROM fair_share ORDER BY run_no")


@pytest.fixture
def sent() -> Sent:
    return []


@pytest.fixture
def exchange(sent: Sent) -> Exchange:
    return Exchange(lambda sql, values: sent.append((sql, values)))


def test_the_tables_of_a_statement_are_those_that_it_writes_and_reads() -> None:
    assert tables_in("UPDATE attempt SET pool = :pool WHERE run_no IN (SELECT a.run_no FROM step_run a)") == {"attempt", "step_run"}


def test_parts_keep_their_parameters_and_their_order() -> None:
    sql = together(("UPDATE a SET x = $2 WHERE y = $1 OR z = $2", "DELETE FROM b WHERE y = $1"))

    assert sql == "WITH part_0 AS (DELETE FROM b WHERE y = $3), part_1 AS (UPDATE a SET x = $2 WHERE y = $1 OR z = $2) SELECT 1"


def test_writes_to_one_table_do_not_go_together(exchange: Exchange, sent: Sent) -> None:
    exchange.add("DELETE FROM timer WHERE run_no = $1", frozenset({"timer"}), [(1,)])
    exchange.add("DELETE FROM ready WHERE run_no = $1", frozenset({"ready"}), [(2,)])
    exchange.add("INSERT INTO timer VALUES ($1)", frozenset({"timer"}), [(3,)])
    exchange.flush()
    exchange.flush()

    assert [values for _, values in sent] == [(1, 2), (3,)]


def test_one_statement_takes_a_limited_number_of_parts(exchange: Exchange, sent: Sent) -> None:
    for number in range(MOST + 1):
        exchange.add("DELETE FROM ready WHERE run_no = $1", frozenset(), [(number,)])
    exchange.flush()

    assert [len(values) for _, values in sent] == [MOST, 1]


async def test_writes_that_go_together_do_what_they_do_one_by_one(database: str) -> None:
    store = PostgresStore(database)
    try:

        def write(connection: Any) -> None:
            _put.many(connection, [{"run_no": run_no, "node": 0, "fire_at": 10 * run_no} for run_no in (1, 2)])
            _share.many(connection, [{"run_no": 1, "tag": 5}])
            _move.many(connection, [{"run_no": 1, "more": 1}, {"run_no": 2, "more": 2}])
            _count.many(connection, [{"run_no": 1}, {"run_no": 1}])
            _put.many(connection, [{"run_no": 3, "node": node, "fire_at": 0} for node in range(40)])
            _drop.many(connection, [{"run_no": 3}])
            _put.many(connection, [{"run_no": 4, "node": 4, "fire_at": 4}])

        await store.transaction(write)

        assert await store.read(_timers.rows) == [(1, 0, 11), (2, 0, 22), (4, 4, 4)]
        assert await store.read(_tags.rows) == [(1, 7)]
    finally:
        await store.close()


async def test_what_is_owed_when_a_transaction_fails_is_never_written(database: str) -> None:
    store = PostgresStore(database)
    try:

        def fail(connection: Any) -> None:
            _put.many(connection, [{"run_no": 1, "node": 0, "fire_at": 1}])
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store.transaction(fail)
        await store.transaction(lambda connection: _put.many(connection, [{"run_no": 2, "node": 0, "fire_at": 2}]))

        assert await store.read(_timers.rows) == [(2, 0, 2)]
    finally:
        await store.close()
