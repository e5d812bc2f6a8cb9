"""Workspaces side by side: the pools of one have the name of another's, and neither its runners nor its queue."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.contracts.messages import COMMAND_LIMIT, Heartbeat, Order, decode, encode
from penstock.engine.statement import Statement
from penstock.transport.bus import Envelope, Exchange, work_queue
from tests.engine.cluster import PATIENCE_SECONDS, Cluster, cluster, pipeline, step

pytestmark = pytest.mark.usefixtures("each_store")
BACKLOG = pipeline(*(step(f"s{number}", cache=False) for number in range(8)))
SINGLE = pipeline(step("single", cache=False))
RUNNERS = {"alpha": 2, "beta": 1}
"""A runner each, with so many slots of `cpu`."""
_live = Statement("SELECT workspace, count(*) FROM attempt WHERE state IN ('dispatched', 'running') GROUP BY workspace")


class Team:
    """The runner of a workspace, played by hand."""

    def __init__(self, engine: Cluster, workspace: str) -> None:
        self._engine = engine
        self.workspace = workspace
        self.orders: asyncio.Queue[Order] = asyncio.Queue()

    async def take_orders(self) -> None:
        async with self._engine.bus.consume(work_queue(self.workspace, "cpu"), prefetch=1000) as deliveries:
            async for delivery in deliveries:
                order = decode(delivery.body, COMMAND_LIMIT)
                assert isinstance(order, Order)
                await delivery.acknowledge()
                await self.orders.put(order)

    async def order(self) -> Order:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.orders.get()

    async def beat(self) -> None:
        name, slots = f"runner of {self.workspace}", RUNNERS[self.workspace]
        heartbeat = Heartbeat(runner=name, incarnation="1", workspace=self.workspace, pools={"cpu": slots})
        await self._engine.bus.publish(Envelope(exchange=Exchange.VITALS, body=encode(heartbeat)))

    async def complete(self, order: Order) -> None:
        """After a while: of what takes long, no more is given out than can be executed."""
        await self._engine.report(self._engine.completed(order, 1, runner=f"runner of {self.workspace}", seconds=60.0))


@pytest.fixture
async def engine() -> AsyncIterator[Cluster]:
    async with cluster() as made:
        made.coordinator.set_slots("hand", {})
        yield made


@pytest.fixture
async def teams(engine: Cluster) -> AsyncIterator[tuple[Team, Team]]:
    """Of alpha and beta, as soon as the coordinator has heard of both."""
    both = Team(engine, "alpha"), Team(engine, "beta")
    tasks = [asyncio.create_task(team.take_orders()) for team in both]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while engine.coordinator.pools != [("alpha", "cpu"), ("beta", "cpu")]:
            for team in both:
                await team.beat()
            await asyncio.sleep(0)
    yield both
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def live(engine: Cluster) -> dict[str, int]:
    return {row[0]: int(row[1]) for row in await engine.store.read(_live.rows)}


async def test_an_idle_runner_gets_its_order_while_another_workspace_has_a_backlog(engine: Cluster, teams: tuple[Team, Team]) -> None:
    alpha, beta = teams
    await engine.submit(BACKLOG, workspace="alpha")
    first = await alpha.order()
    run = await engine.submit(SINGLE, workspace="beta")

    order = await beta.order()

    assert (order.workspace, first.workspace) == ("beta", "alpha")
    await beta.complete(order)
    assert (await engine.ended(run))[0].value == "succeeded"


async def test_a_workspace_is_given_out_no_more_than_its_own_runners_have_slots(engine: Cluster, teams: tuple[Team, Team]) -> None:
    alpha, beta = teams
    run = await engine.submit(BACKLOG, workspace="alpha")
    seen: list[dict[str, int]] = []
    for _ in BACKLOG.nodes:
        order = await alpha.order()
        seen.append(await live(engine))
        await alpha.complete(order)

    assert (await engine.ended(run))[0].value == "succeeded"
    assert max(counts["alpha"] for counts in seen) == RUNNERS["alpha"]
    assert beta.orders.empty()


async def test_a_workspace_without_runners_waits_and_holds_nobody_up(engine: Cluster, teams: tuple[Team, Team]) -> None:
    alpha, _ = teams
    await engine.submit(SINGLE, workspace="aaa")
    run = await engine.submit(SINGLE, workspace="alpha")

    await alpha.complete(await alpha.order())

    assert (await engine.ended(run))[0].value == "succeeded"
    assert await live(engine) == {}
