"""Reruns: which step runs keep the outputs of the run that is run again."""

import pytest

from penstock.contracts.bindings import FromItem, FromNode, FromParameter
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.messages import Completed, Order, RunOptions
from penstock.contracts.spec import CollectSpec, EachSpec, Identity, Node, PipelineSpec
from penstock.contracts.states import AttemptState, RunState
from tests.engine.cluster import Cluster, cluster, parameter, pipeline, step

pytestmark = pytest.mark.usefixtures("each_store")


def failed(order: Order) -> Completed:
    return Completed(attempt=order.attempt, token=order.token, runner="hand", outcome=AttemptState.FAILED)


async def rerun_failed(c: Cluster, spec: PipelineSpec, of: int) -> tuple[RunState, list[str]]:
    """How a rerun of what failed ended, and what it executed."""
    c.executed.clear()
    run_no = await c.submit(spec, options=RunOptions(pinned_from=f"run{of}"))
    return (await c.ended(run_no))[0], c.executed


async def test_what_took_none_from_a_step_that_failed_takes_its_result_in_the_rerun() -> None:
    broken = {"first"}
    nodes: list[Node] = [
        step("first", allow_failure=True, cache=False),
        step("second", inputs={"x": FromNode(node="first")}, accepts_none=("x",), cache=False),
    ]
    async with cluster(lambda order: failed(order) if broken and b'"first"' in order.step and b"accepts" not in order.step else 1) as c:
        await c.ended(await c.submit(pipeline(*nodes)))
        assert c.executed == ["first", "second"]
        broken.clear()

        assert await rerun_failed(c, pipeline(*nodes), of=1) == (RunState.SUCCEEDED, ["first", "second"])


async def test_what_took_a_list_with_dropped_items_takes_the_whole_list_in_the_rerun() -> None:
    broken = {"score/1"}
    nodes: list[Node] = [
        EachSpec(name="each", each=(FromParameter(parameter="xs"),)),
        step("score", inputs={"x": FromItem(item="each")}, scope=("each",), cache=False),
        CollectSpec(name="kept", collect=FromNode(node="score"), over="each", missing="drop", at_least=0.0),
        step("best", inputs={"scores": FromNode(node="kept")}, cache=False),
    ]

    def answer(order: Order) -> object:
        return failed(order) if broken and order.index == (1,) else 1

    async with cluster(answer) as c:
        spec = pipeline(*nodes, parameters=(parameter("xs", [1, 2, 3]),))
        await c.ended(await c.submit(spec))
        broken.clear()

        assert await rerun_failed(c, spec, of=1) == (RunState.SUCCEEDED, ["score/1", "best"])


async def test_an_edited_step_is_executed_in_a_rerun_though_it_had_succeeded() -> None:
    edited = step("first", cache=False, code=Identity(digest=digest_bytes(b"edited")))
    last = step("last", inputs={"x": FromNode(node="first")}, cache=False)
    broken = {"last"}
    async with cluster(lambda order: failed(order) if broken and b'"last"' in order.step else 1) as c:
        await c.ended(await c.submit(pipeline(step("first", cache=False), last)))
        broken.clear()

        assert await rerun_failed(c, pipeline(edited, last), of=1) == (RunState.SUCCEEDED, ["first", "last"])


async def test_what_succeeded_and_is_as_it_was_is_not_executed_in_a_rerun() -> None:
    last = step("last", inputs={"x": FromNode(node="first")}, cache=False)
    broken = {"last"}
    async with cluster(lambda order: failed(order) if broken and b'"last"' in order.step else 1) as c:
        await c.ended(await c.submit(pipeline(step("first", cache=False), last)))
        broken.clear()

        assert await rerun_failed(c, pipeline(step("first", cache=False), last), of=1) == (RunState.SUCCEEDED, ["last"])
