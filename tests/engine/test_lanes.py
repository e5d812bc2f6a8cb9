"""Steps that are served: where their work waits, and where it goes when nobody serves them any more."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.contracts.messages import COMMAND_LIMIT, AttemptKey, Heartbeat, Order, RunOptions, Service, Started, decode, encode
from penstock.contracts.names import lane_of
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import RunState
from penstock.engine.lane_rows import not_begun
from penstock.engine.statement import Statement
from penstock.transport.bus import Envelope, Exchange, work_queue
from tests.engine.cluster import PATIENCE_SECONDS, Cluster, cluster, pipeline, step

pytestmark = pytest.mark.usefixtures("each_store")
_waiting = Statement("SELECT pool, count(*) FROM ready GROUP BY pool ORDER BY pool")
_attempts = Statement("SELECT number, state, pool FROM attempt ORDER BY run_no, node, item, number")
A = step("a")
LANE = lane_of("flow", "a")


def service(spec: StepSpec = A, **fields: Any) -> Service:
    given: dict[str, Any] = {"pipeline": "flow", "step": spec.name, "code": spec.code.digest}
    return Service(**(given | fields))


class Served:
    """A service of the step `a`, played by hand."""

    def __init__(self, engine: Cluster) -> None:
        self._engine = engine
        self.orders: asyncio.Queue[Order] = asyncio.Queue()

    async def beat(self, *services: Service, slots: int = 1, attempts: tuple[AttemptKey, ...] = (), is_draining: bool = False) -> None:
        pools = {lane_of(each.pipeline, each.step): slots for each in services}
        heartbeat = Heartbeat(runner="service", incarnation="1", pools=pools, services=services, attempts=attempts, is_draining=is_draining)
        await self._engine.bus.publish(Envelope(exchange=Exchange.VITALS, body=encode(heartbeat)))

    async def take_orders(self) -> None:
        async with self._engine.bus.consume(work_queue("default", LANE), prefetch=1000) as deliveries:
            async for delivery in deliveries:
                order = decode(delivery.body, COMMAND_LIMIT)
                assert isinstance(order, Order)
                await delivery.acknowledge()
                await self.orders.put(order)

    async def order(self) -> Order:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.orders.get()

    async def heard(self, *services: Service, **fields: Any) -> None:
        """Beats until a run of the step comes to the lane: then the coordinator has heard of the service."""
        await self.beat(*services, **fields)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while ("default", LANE) not in self._engine.coordinator.offered:
                await self.beat(*services, **fields)
                await asyncio.sleep(0)

    async def until(self, statement: Statement, *expected: tuple[Any, ...]) -> None:
        """Waits until the rows are these."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._engine.store.read(statement.rows) != list(expected):
                await self._engine.coordinator.ended(0, 0.02)


@asynccontextmanager
async def served() -> AsyncGenerator[tuple[Cluster, Served]]:
    async with cluster() as engine:
        hand = Served(engine)
        taking = asyncio.create_task(hand.take_orders())
        try:
            yield engine, hand
        finally:
            taking.cancel()


async def test_a_served_step_is_sent_to_its_lane_and_others_to_their_pools() -> None:
    async with served() as (engine, hand):
        await hand.heard(service())
        run_no = await engine.submit(pipeline(A, step("b")))

        mine, other = await hand.order(), await engine.order()

        assert (mine.step_name, mine.pool) == ("a", LANE)
        assert (other.step_name, other.pool) == ("b", "cpu")
        await engine.report(engine.completed(mine), engine.completed(other))
        assert (await engine.ended(run_no))[0] is RunState.SUCCEEDED


@pytest.mark.parametrize(
    "announced", [service(code="another"), service(workspace="elsewhere"), service(pipeline="other")], ids=["code", "workspace", "pipeline"]
)
async def test_what_nobody_serves_as_it_is_goes_to_the_pool(announced: Service) -> None:
    async with served() as (engine, hand):
        await hand.heard(service(step("z"), step="a", code="another"), announced)
        await engine.submit(pipeline(A))

        assert (await engine.order()).pool == "cpu"


async def test_who_serves_any_code_gets_every_version() -> None:
    async with served() as (engine, hand):
        await hand.heard(service(code=""))
        await engine.submit(pipeline(A))

        assert (await hand.order()).pool == LANE


async def test_when_the_last_service_drains_all_that_nobody_has_begun_goes_to_the_pool_of_the_run() -> None:
    async with served() as (engine, hand):
        await hand.heard(service(), slots=1)
        engine.coordinator.set_slots("hand", {"other": 10})
        # Cached, the second run would wait for the first one's result.
        spec = pipeline(A.model_copy(update={"cache": False}))
        runs = [await engine.submit(spec, options=RunOptions(pools={"a": "other"})) for _ in range(2)]
        begun = await hand.order()
        await engine.report(Started(attempt=begun.attempt, token=begun.token, runner="service"))
        await hand.until(_waiting, (LANE, 1))

        await hand.beat(service(), attempts=(begun.attempt,), is_draining=True)

        await hand.until(_attempts, (1, "running", LANE), (1, "dispatched", "other"))
        await engine.report(engine.completed(begun))
        assert (await engine.ended(runs[0]))[0] is RunState.SUCCEEDED


async def test_an_order_that_a_drained_service_has_not_begun_is_given_to_the_pool_without_being_counted() -> None:
    async with served() as (engine, hand):
        await hand.heard(service())
        run_no = await engine.submit(pipeline(A))
        await hand.order()

        await hand.beat(service(), is_draining=True)
        again = await engine.order()

        assert (again.pool, again.attempt.attempt_no) == ("cpu", 2)
        await engine.report(engine.completed(again))
        assert (await engine.ended(run_no))[0] is RunState.SUCCEEDED
        losses = await engine.store.read(Statement("SELECT losses FROM step_run").rows)
        assert losses == [(0,)]


async def test_what_is_begun_while_its_lane_is_given_up_stays_with_who_began_it() -> None:
    async with served() as (engine, hand):
        await hand.heard(service())
        run_no = await engine.submit(pipeline(A))
        order = await hand.order()
        ((_, given_up),) = await engine.store.read(lambda connection: not_begun(connection, ("default", LANE), ()))

        await engine.report(Started(attempt=order.attempt, token=order.token, runner="service"))
        await hand.until(_attempts, (1, "running", LANE))
        await engine.coordinator.take_in(run_no, given_up)

        await hand.until(_attempts, (1, "running", LANE))
        await engine.report(engine.completed(order))
        assert (await engine.ended(run_no))[0] is RunState.SUCCEEDED


async def test_what_a_drained_service_still_executes_stays_with_it() -> None:
    async with served() as (engine, hand):
        await hand.heard(service(), slots=1)
        spec = pipeline(A.model_copy(update={"cache": False}))
        run_no = await engine.submit(spec)
        young = await hand.order()
        await engine.submit(spec)
        await hand.until(_waiting, (LANE, 1))

        await hand.beat(service(), attempts=(young.attempt,), is_draining=True)
        await engine.order()
        # Whatever was decided before this one was, is done.
        await engine.submit(spec)
        await engine.order()

        await hand.until(_attempts, (1, "dispatched", LANE), (1, "dispatched", "cpu"), (1, "dispatched", "cpu"))
        await engine.report(engine.completed(young))
        assert (await engine.ended(run_no))[0] is RunState.SUCCEEDED


async def test_what_waits_for_a_pool_without_runners_moves_to_a_service_that_comes() -> None:
    async with served() as (engine, hand):
        await engine.submit(pipeline(A.model_copy(update={"pool": "nowhere"})))
        await hand.until(_waiting, ("nowhere", 1))

        await hand.heard(service(), slots=1)

        assert (await hand.order()).pool == LANE
