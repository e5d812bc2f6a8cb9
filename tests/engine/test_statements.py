"""How many statements a transaction takes: as many for a thousand reports of a run as for one, each of them an exchange with a server."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from penstock.contracts.bindings import FromItem, FromNode, FromParameter
from penstock.contracts.messages import Metric
from penstock.contracts.spec import CollectSpec, EachSpec
from penstock.contracts.states import RunState
from penstock.engine.exchange import Exchange
from penstock.engine.statement import Statement
from penstock.engine.store import Store
from tests.engine import cluster as clusters
from tests.engine.cluster import cluster, parameter, pipeline, step

T = TypeVar("T")
MOST_OF_A_STEP = 36
"""Statements that a step of a chain takes: its report decided, the next one ordered. Where they go to a server, so many exchanges."""
MOST_WITH_A_SERVER = 25

pytestmark = pytest.mark.usefixtures("each_store")


class Counted:
    """A store that keeps the number of statements of each transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.counts: list[int] = []

    @property
    def is_concurrent(self) -> bool:
        return self._store.is_concurrent

    async def transaction(self, function: Callable[[Connection], T]) -> T:
        def counted(connection: Connection) -> T:
            self.counts.append(0)
            return function(connection)

        return await self._store.transaction(counted)

    async def read(self, function: Callable[[Connection], T]) -> T:
        return await self._store.read(function)

    async def close(self) -> None:
        await self._store.close()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counted]:
    """The store of the cluster that is made last."""
    made: list[Counted] = []
    make = clusters.make_store
    compiled = Statement._for  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - every statement passes it once an exchange

    def count(self: Statement, connection: Connection) -> tuple[str, list[str]]:
        if made and made[-1].counts:
            made[-1].counts[-1] += 1
        return compiled(self, connection)

    add, flush = Exchange.add, Exchange.flush

    def count_less(self: Exchange, *write: Any) -> None:
        # It goes with others.
        made[-1].counts[-1] -= 1
        add(self, *write)

    def count_together(self: Exchange) -> None:
        if self.is_owing and made and made[-1].counts:
            made[-1].counts[-1] += 1
        flush(self)

    def make_counted() -> Store:
        made.append(Counted(make()))
        return made[-1]

    monkeypatch.setattr(Statement, "_for", count)
    monkeypatch.setattr(Exchange, "add", count_less)
    monkeypatch.setattr(Exchange, "flush", count_together)
    monkeypatch.setattr(clusters, "make_store", make_counted)
    return lambda: made[-1]


async def test_a_batch_takes_no_more_statements_for_more_reports(counted: Callable[[], Counted]) -> None:
    few, many = [await _largest_batch(counted, reports) for reports in (5, 80)]

    # Upkeep may have a few of its own decided with them.
    assert many <= few + 3


async def test_a_step_of_a_chain_takes_few_statements(counted: Callable[[], Counted]) -> None:
    length = 20
    most = {True: MOST_WITH_A_SERVER, False: MOST_OF_A_STEP}
    steps = [step("s0"), *(step(f"s{n}", inputs={"x": FromNode(node=f"s{n - 1}")}) for n in range(1, length))]
    async with cluster(lambda _order: 1) as c:
        run_no = await c.submit(pipeline(*steps))
        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED

        assert sum(counted().counts) / length <= most[counted().is_concurrent]


async def _largest_batch(counted: Callable[[], Counted], reports: int) -> int:
    """Statements of the largest transaction while so many reports of a fan-out are taken in as one message."""
    spec = pipeline(
        EachSpec(name="item", each=(FromParameter(parameter="numbers"),)),
        step("fit", inputs={"x": FromItem(item="item")}, scope=("item",)),
        step("judge", inputs={"x": FromNode(node="fit")}, scope=("item",)),
        CollectSpec(name="all", over="item", collect=FromNode(node="judge")),
        parameters=(parameter("numbers", [reports * 1000 + n for n in range(reports)]),),
    )
    async with cluster() as c:
        run_no = await c.submit(spec, f"fan{reports}")
        orders = [await c.order() for _ in range(reports)]
        counted().counts.clear()
        await c.report(
            *(c.completed(order, reports * 1000 + n, metrics=(Metric(name="loss", value=0.5),)) for n, order in enumerate(orders))
        )
        orders = [await c.order() for _ in range(reports)]
        found = max(counted().counts)
        await c.report(*(c.completed(order) for order in orders))
        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED
        return found
