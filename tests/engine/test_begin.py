"""Runs that somebody else made in the store: begun when they are rung for, or found; once, however often."""

from collections.abc import AsyncIterator

import pytest_asyncio

from penstock.contracts.messages import SubmitRun, encode
from penstock.contracts.spec import encode_spec
from penstock.contracts.states import RunState
from penstock.engine.core.wants import Begin
from penstock.engine.runs import submit
from penstock.engine.unbegun import UNBEGUN_MICROSECONDS, unbegun
from tests.engine.cluster import Cluster, pipeline, step
from tests.engine.cluster import cluster as at_work

CREATED = 1_800_000_000_000_000
ASKED = SubmitRun(run_id="made-elsewhere", spec=encode_spec(pipeline(step("only"))))


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with at_work() as cluster:
        yield cluster


async def made(cluster: Cluster, created: int = CREATED) -> int:
    return (await cluster.store.transaction(lambda connection: submit(connection, ASKED, created)))[0]


async def test_a_run_that_is_rung_for_is_begun_once(cluster: Cluster) -> None:
    run_no = await made(cluster)
    bell = encode(SubmitRun(run_id=ASKED.run_id, spec=b""))
    for _ in range(3):
        await cluster.publish(bell)

    order = await cluster.order()
    await cluster.publish(bell)
    await cluster.report(cluster.completed(order, 1))

    assert (await cluster.ended(run_no))[0] is RunState.SUCCEEDED
    await cluster.publish(bell)
    cluster.coordinator.tell(run_no, Begin())
    assert len(await cluster.states(run_no)) == 1
    assert cluster.orders.empty()


async def test_a_run_that_nobody_rang_for_is_found(cluster: Cluster) -> None:
    run_no = await made(cluster, created=0)

    order = await cluster.order()

    assert order.attempt.run_no == run_no


async def test_only_what_waits_for_longer_than_a_coordinator_needs_is_looked_for(cluster: Cluster) -> None:
    run_no = await made(cluster, created=CREATED)
    read = cluster.store.read

    assert await read(lambda connection: unbegun(connection, None, CREATED + UNBEGUN_MICROSECONDS)) == []
    assert await read(lambda connection: unbegun(connection, "another", CREATED + UNBEGUN_MICROSECONDS + 1)) == []
    assert await read(lambda connection: unbegun(connection, None, CREATED + UNBEGUN_MICROSECONDS + 1)) == [run_no]
