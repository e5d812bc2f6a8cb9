"""How runs end: results that can't be had, and hooks."""

import pytest

from penstock.contracts.artifacts import inline
from penstock.contracts.bindings import FromNode, Select
from penstock.contracts.messages import AttemptKey, CancelRun, decode, encode
from penstock.contracts.states import RunState
from penstock.engine.owed import cancel_messages
from tests.engine.cluster import cluster, pipeline, step

pytestmark = pytest.mark.usefixtures("each_store")


async def test_a_result_that_is_not_there_fails_the_run_and_is_named() -> None:
    output = Select(select=("accuracy",), of=FromNode(node="train"))
    async with cluster(lambda _order: {"loss": 1}) as c:
        run_no = await c.submit(pipeline(step("train"), outputs={"best": output}))

        state, error = await c.ended(run_no)

        assert state is RunState.FAILED
        assert error is not None
        assert "output 'best'" in error
        assert "no part 'accuracy'" in error


async def test_hooks_are_called_however_long_the_texts_of_a_run_are() -> None:
    nodes = [step("\u0101" * 60 + f"-{number}") for number in range(30)]
    spec = pipeline(*nodes, outputs={"x": Select(select=("nope",), of=FromNode(node=nodes[0].name))}, hooks={"on_failure": step("told")})
    async with cluster(lambda _order: 1) as c:
        run_no = await c.submit(spec, name="\x01" * 5000, tags={"a": "\x01" * 5000, "b": "c"})

        assert (await c.ended(run_no))[0] is RunState.FAILED
        assert c.executed[-1] == "told"


async def test_a_run_that_is_cancelled_while_its_hooks_run_ends_as_it_would_have() -> None:

    async with cluster() as c:
        run_no = await c.submit(pipeline(step("train"), hooks={"on_exit": step("told")}))
        await c.report(c.completed(await c.order()))
        hook = await c.order()
        assert (await c.state(run_no))[0] is RunState.FINISHING

        await c.publish(encode(CancelRun(run_id="run1", reason="enough", leaves_hooks=True)))

        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED
        assert (1, 0, "cancelled") in await c.states(run_no)
        await c.report(c.completed(hook))


async def test_the_result_of_a_step_that_returns_nothing_is_none() -> None:
    taking = step("taking", inputs={"x": FromNode(node="saying", output=None)})
    async with cluster() as c:
        run_no = await c.submit(pipeline(step("saying", outputs=()), taking, outputs={"said": FromNode(node="saying", output=None)}))
        await c.report(c.completed(await c.order(), outputs={}))

        order = await c.order()
        await c.report(c.completed(order))

        assert order.inputs == {"x": inline(None)}
        await c.ended(run_no)
        assert await c.outputs(run_no) == {"said": None}


def test_any_number_of_attempts_can_be_cancelled_at_once() -> None:
    attempts = [AttemptKey(run_no=2**40, step_no=1000, item_no=item, attempt_no=1) for item in range(10_001)]

    messages = cancel_messages(attempts)

    assert [attempt for message in messages for attempt in message.attempts] == attempts
    assert [decode(encode(message)) for message in messages] == messages
    assert cancel_messages([]) == []
