"""Limits and slots where two coordinators give out side by side, on PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import Connection

from penstock.contracts.messages import Order, SubmitRun
from penstock.contracts.pools import PoolSpec, decode_pool
from penstock.contracts.spec import ResourcesSpec, encode_spec
from penstock.engine.batch import decide_all
from penstock.engine.core.slice import Circumstances
from penstock.engine.core.wants import Begin
from penstock.engine.dispatcher import Dispatcher
from penstock.engine.pools import apply_pool
from penstock.engine.runs import submit
from penstock.engine.statement import Statement
from penstock.engine.stores.postgres import PostgresStore
from tests.engine.small_pipelines import pipeline, step

RUNS = 40
PATIENCE_SECONDS = 60.0
_live = Statement("SELECT run_no, node, slots FROM attempt WHERE state = 'dispatched'")
_close_one = Statement(
    "UPDATE attempt SET state = 'succeeded' WHERE (run_no, node) IN (SELECT run_no, node FROM attempt WHERE state = 'dispatched' "
    "ORDER BY run_no LIMIT 1)"
)


@pytest.fixture
async def stores(database: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    """Those of two coordinators."""
    made = PostgresStore(database), PostgresStore(database)
    yield made
    for store in made:
        await store.close()


def now() -> int:
    return time.time_ns() // 1000


def make_runs(connection: Connection, pool: PoolSpec) -> None:
    """Runs of one step each, every other one of two slots, all of them ready."""
    apply_pool(connection, "default", pool, now())
    circumstances = Circumstances(now=now(), check_after=0, manifests={})
    for number in range(RUNS):
        spec = pipeline(step("work", cache=False, resources=ResourcesSpec(cpu=1 + number % 2)))
        request = SubmitRun(run_id=f"run-{number}", spec=encode_spec(spec), tags={"customer": "xy"[number % 2]})
        run_no, _ = submit(connection, request, now())
        decide_all(connection, {run_no: [Begin()]}, circumstances, Dispatcher(key=b"key"))


async def give_out(store: PostgresStore, slots: int, given: list[Order], seen: list[list[tuple[int, int]]]) -> None:
    """What a coordinator does again and again, and what lives while it looks: (run, slots)."""
    dispatcher = Dispatcher(key=b"key")

    def function(connection: Connection) -> list[Order]:
        return dispatcher.dispatch(connection, {("default", "cpu"): [slots]}, now())

    while len(given) < RUNS:
        given += await store.transaction(function)
        seen.append([(row[0], row[2]) for row in await store.read(_live.rows)])
        await store.transaction(_close_one)


async def run(stores: tuple[PostgresStore, PostgresStore], pool: PoolSpec, slots: int) -> list[list[tuple[int, int]]]:
    """Has all of it given out by both; what lived at the same time."""
    given: list[Order] = []
    seen: list[list[tuple[int, int]]] = []
    await stores[0].transaction(partial(make_runs, pool=pool))
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        for store in stores:
            tasks.create_task(give_out(store, slots, given, seen))
    assert sorted(order.attempt.run_no for order in given) == list(range(1, RUNS + 1))
    return seen


async def test_a_limit_is_kept_by_two_coordinators_together(stores: tuple[PostgresStore, PostgresStore]) -> None:
    pool = decode_pool({"name": "cpu", "limits": [{"step": "small/work", "at_once": 5}, {"key": "customer", "at_once": 3}]})

    seen = await run(stores, pool, slots=100)

    assert max(len(live) for live in seen) == 5
    assert max(sum(run_no % 2 == odd for run_no, _ in live) for live in seen for odd in (0, 1)) == 3


async def test_slots_are_counted_by_two_coordinators_together(stores: tuple[PostgresStore, PostgresStore]) -> None:
    pool = decode_pool({"name": "cpu", "slots_per_runner": 6})

    seen = await run(stores, pool, slots=6)

    assert 4 < max(sum(slots for _, slots in live) for live in seen) <= 6


async def test_a_rate_is_kept_by_two_coordinators_together(stores: tuple[PostgresStore, PostgresStore]) -> None:
    pool = decode_pool({"name": "cpu", "limits": [{"per_second": 40}]})
    began = time.monotonic()

    await run(stores, pool, slots=100)

    # What may begin together, a tenth of a second's worth, comes at once.
    assert time.monotonic() - began >= (RUNS - 4 - 1) / 40
