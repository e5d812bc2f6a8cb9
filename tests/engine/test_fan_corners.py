"""Corners of fan-outs: ends that come early, lists that are long, items that weigh much."""

import pytest

from penstock.contracts.artifacts import inline
from penstock.contracts.bindings import Compare, FromItem, FromNode, FromParameter, Literal_
from penstock.contracts.messages import Completed, Order
from penstock.contracts.spec import CollectSpec, EachSpec
from penstock.contracts.states import AttemptState, RunState
from tests.engine.cluster import cluster, parameter, pipeline, step

pytestmark = pytest.mark.usefixtures("each_store")

EACH = EachSpec(name="each", each=(FromParameter(parameter="xs"),))
SCORE = step("score", inputs={"x": FromItem(item="each")}, scope=("each",))


async def test_a_fan_out_of_hits_that_need_not_be_written_down_to_its_end_ends() -> None:
    found = Compare(compare="==", left=FromNode(node="score"), right=Literal_(value=inline(0)))
    first = CollectSpec(name="first", collect=FromNode(node="score"), over="each", missing="drop", at_least=0.0, until=found)
    async with cluster(lambda _order: 0) as c:
        await c.ended(await c.submit(pipeline(EACH, SCORE, parameters=(parameter("xs", [0]),))))
        long = pipeline(EACH, SCORE, first, parameters=(parameter("xs", [0] * 2000),))

        assert (await c.ended(await c.submit(long)))[0] is RunState.SUCCEEDED
        assert len(c.executed) == 1


async def test_a_list_of_heavy_items_reaches_the_step_that_takes_it() -> None:
    xs = list(range(60))
    collected = CollectSpec(name="all", collect=FromNode(node="score"), over="each")
    last = step("last", inputs={"scores": FromNode(node="all")})
    async with cluster(lambda _order: "x" * 4000) as c:
        run_no = await c.submit(pipeline(EACH, SCORE, collected, last, parameters=(parameter("xs", xs),)))

        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED
        assert c.executed[-1] == "last"


async def test_empty_fan_outs_in_fan_outs_collect_empty_lists() -> None:
    inner = EachSpec(name="inner", each=(FromItem(item="each"),), scope=("each",))
    work = step("work", inputs={"x": FromItem(item="inner")}, scope=("each", "inner"))
    within = CollectSpec(name="within", collect=FromNode(node="work"), over="inner", scope=("each",))
    whole = CollectSpec(name="whole", collect=FromNode(node="within"), over="each")
    async with cluster(lambda _order: 1) as c:
        spec = pipeline(
            EACH, inner, work, within, whole, parameters=(parameter("xs", [[], [1, 2], []]),), outputs={"all": FromNode(node="whole")}
        )
        run_no = await c.submit(spec)

        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED
        assert await c.outputs(run_no) == {"all": [[], [1, 1], []]}


async def test_a_failed_item_leaves_out_what_is_below_it_where_a_collect_drops_it() -> None:
    def answer(order: Order) -> object:
        if order.index == (1,) and b'"score"' in order.step:
            return Completed(attempt=order.attempt, token=order.token, runner="hand", outcome=AttemptState.FAILED)
        return order.index[0]

    below = step("below", inputs={"x": FromNode(node="score")}, scope=("each",))
    kept = CollectSpec(name="kept", collect=FromNode(node="below"), over="each", missing="drop", at_least=0.5)
    async with cluster(answer) as c:
        spec = pipeline(EACH, SCORE, below, kept, parameters=(parameter("xs", [5, 6, 7]),), outputs={"kept": FromNode(node="kept")})
        run_no = await c.submit(spec)

        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED
        assert await c.outputs(run_no) == {"kept": [0, 2]}
