"""What can't be decided, or should not be: it is refused or put aside, the others go on, and the coordinator lives."""

import json
import math
import random
from typing import Any

import msgpack
import pytest

from penstock.contracts.artifacts import inline
from penstock.contracts.errors import ContractError
from penstock.contracts.messages import AttemptKey, Claim, Completed, Order, Reports, RunOptions, Started, encode
from penstock.contracts.states import RunState
from penstock.engine.queries import find_run, step_run_views
from penstock.engine.statement import Statement
from tests.engine.cluster import Cluster, cluster, pipeline, step

pytestmark = pytest.mark.usefixtures("each_store")

ONE_STEP = pipeline(step("train"))
_spoil_inputs = Statement("UPDATE step_run SET inputs = :bytes, outputs = :bytes WHERE run_no = :run_no")

_lose_spec = Statement("UPDATE run SET spec_digest = 'gone' WHERE run_no = :run_no")


async def still_works(cluster: Cluster) -> None:
    run_no = await cluster.submit(pipeline(step("other")))
    while (order := await cluster.order()).attempt.run_no != run_no:
        pass
    await cluster.report(cluster.completed(order))
    assert (await cluster.ended(run_no))[0] is RunState.SUCCEEDED


def wire(report: Completed, **changed: Any) -> bytes:
    """The bytes of a report in which fields are something else than a decent runner writes."""
    plain = {**report.model_dump(), "outcome": report.outcome.value, **changed}
    return bytes(msgpack.packb([0, msgpack.packb({"type": "reports", "version": 1, "reports": [plain]}), b""]))


@pytest.mark.parametrize(
    "changed",
    [
        {"attempt": {"run_no": 2**64 - 1, "step_no": 0, "item_no": 0, "attempt_no": 1}},
        {"attempt": {"run_no": -1, "step_no": 0, "item_no": 0, "attempt_no": 1}},
        {"token": "é"},
        {"token": "0" * 32},
        {"outcome": "dispatched"},
        {"seconds": math.nan},
        {"seconds": 1e300},
        {"peak_memory_bytes": 2**64 - 1},
        {"outputs": {"result": {"uri": "cas:x", "digest": "sha256:../../x", "size": 2**64 - 1}}},
        {"metrics": [{"name": "loss", "value": 1.0, "step": 2**64 - 1}]},
    ],
    ids=str,
)
async def test_a_report_that_can_not_be_changes_nothing(changed: dict[str, Any]) -> None:
    async with cluster() as c:
        run_no = await c.submit(ONE_STEP)
        order = await c.order()

        await c.publish(wire(c.completed(order), **changed))
        await still_works(c)

        assert (await c.state(run_no))[0] is RunState.RUNNING
        await c.report(c.completed(order))
        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED


async def test_random_and_spoilt_bytes_are_refused() -> None:
    rng = random.Random(1)
    attempt = AttemptKey(run_no=1, step_no=0, item_no=0, attempt_no=1)
    claim = Claim(attempt=attempt, token="t", runner="r", reply_to="q")
    started = encode(Reports(reports=(Started(attempt=attempt, token="t", runner="r"), claim)))
    async with cluster() as c:
        for number in range(1000):
            data = bytearray(started if number % 3 else rng.randbytes(rng.randrange(100)))
            for _ in range(rng.randrange(4) if data else 0):
                data[rng.randrange(len(data))] = rng.randrange(256)
            await c.publish(bytes(data))
        await c.publish(b"x" * 20_000_000)

        await still_works(c)


@pytest.mark.parametrize("run_id", ["", " ", "..", "../../etc", "a/b", "a\\b", "a\0b", "ü", "x" * 64])
async def test_a_run_id_that_is_no_folder_name_is_refused(run_id: str) -> None:
    async with cluster() as c:
        with pytest.raises(ValueError, match="run_id"):
            await c.submit(ONE_STEP, run_id=run_id)


@pytest.mark.parametrize("name", ["..", "../../x", "a/../b", "a//b", "/etc", ".hidden", "a\\b", "a\0b", "", "a/", "x" * 101])
async def test_a_step_name_that_is_no_folder_name_is_refused(name: str) -> None:
    spec = json.dumps({"spec": 1, "name": "flow", "nodes": [{**json.loads(step("a").model_dump_json()), "name": name}]}).encode()
    async with cluster() as c:
        with pytest.raises(ContractError, match="name"):
            await c.submit(spec)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_seconds": math.nan}, {"timeout_seconds": math.inf}, {"timeout_seconds": -1.0}, {"timeout_seconds": 1e300},
        {"priority": 2**70}, {"max_parallel": 0}, {"max_parallel": 2**70},
    ],
    ids=str,
)  # fmt: skip
def test_options_that_no_run_can_have_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        RunOptions(**options)


async def test_stopping_at_a_step_that_is_not_there_is_refused() -> None:
    async with cluster() as c:
        with pytest.raises(ContractError, match="no step 'all'"):
            await c.submit(ONE_STEP, options=RunOptions(until="all"))
        await still_works(c)


EACH = {"name": "each", "each": [{"value": inline([1, 2]).model_dump()}]}
STEP = json.loads(step("a").model_dump_json(exclude_defaults=True))
ONE = {"value": inline(1).model_dump()}


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"nodes": [STEP], "hooks": {"on_exit": {**STEP, "name": "h", "scope": ["nope"]}}}, "run summary only"),
    (
        {"nodes": [STEP], "hooks": {"on_exit": {**STEP, "name": "h", "inputs": {"x": {"node": "a"}}}}},
        "run summary only",
    ),
    ({"nodes": [EACH, {**EACH, "name": "inner", "scope": ["each"]}, {**STEP, "scope": ["inner"]}]}, "not of the same fan-outs"),
    ({"nodes": [EACH, {**STEP, "scope": ["each"]}, {"name": "c", "collect": ONE, "over": "each", "after": ["a"]}]}, "collect it first"),
    (
        {"nodes": [EACH, {**STEP, "scope": ["each"]}, {"name": "c", "collect": ONE, "over": "each", "when": [{"node": "a"}]}]},
        "collect it",
    ),
    ({"nodes": [EACH, {**STEP, "scope": ["each"], "inputs": {"x": {"item": "each", "field": 7}}}]}, "takes list 7 of 'each'"),
    ({"nodes": [EACH, {**STEP, "scope": ["each"]}, {**STEP, "name": "b", "inputs": {"x": {"node": "a"}}}]}, "collect it first"),
    ({"nodes": [{"name": "each", "each": []}]}, "at least 1"),
    ({"nodes": [{**EACH, "batch": 0}]}, "greater than or equal to 1"),
    ({"nodes": [{**STEP, "retries": {"delay_seconds": 1e300}}]}, "less than or equal to"),
]


@pytest.mark.parametrize(("document", "complaint"), UNFIT)
async def test_a_spec_that_can_not_run_is_refused(document: dict[str, Any], complaint: str) -> None:
    async with cluster() as c:
        with pytest.raises(ContractError, match=complaint):
            await c.submit(json.dumps({"spec": 1, "name": "flow", **document}).encode())
        await still_works(c)


@pytest.mark.parametrize("depth", [20, 2_000, 100_000])
async def test_a_spec_of_any_depth_is_taken_or_refused(depth: int) -> None:
    value = inline(1).model_dump_json()
    data = b'{"spec":1,"name":"deep","outputs":{"x":' + b'{"negate":' * depth + b'{"value":' + value.encode() + b"}" + b"}" * depth + b"}}"
    async with cluster() as c:
        try:
            await c.submit(data)
        except ContractError:
            assert depth > 20
        await still_works(c)


async def test_text_that_no_store_keeps_is_cleaned() -> None:
    async with cluster() as c:
        run_no = await c.submit(ONE_STEP, name="odd \ud800\0 name", tags={"\0": "\udfff"})

        await c.order()
        assert (await c.state(run_no))[0] is RunState.RUNNING


async def test_who_waits_for_a_run_that_is_put_aside_does_the_work_itself() -> None:
    async with cluster() as c:
        spoilt = await c.submit(ONE_STEP)
        order = await c.order()
        waiting = await c.submit(ONE_STEP)
        await c.reaches(waiting, (0, 0, "parked"))

        # A spec that is gone can't be decided upon.
        await c.store.transaction(lambda connection: _lose_spec(connection, run_no=spoilt))
        await c.report(c.completed(order))
        state, error = await c.ended(spoilt)
        again = await c.order()
        await c.report(c.completed(again))

        assert (state, again.attempt.run_no) == (RunState.FAILED, waiting)
        assert "internal error" in (error or "")
        assert (await c.ended(waiting))[0] is RunState.SUCCEEDED


async def test_a_run_whose_orders_can_not_be_made_stops_no_other() -> None:
    def answer(order: Order) -> object:
        return None

    async with cluster(answer) as c:
        c.coordinator.set_slots("hand", {})
        spoilt = await c.submit(ONE_STEP)
        await c.store.transaction(lambda connection: _spoil_inputs(connection, run_no=spoilt, bytes=b"\xc1"))
        healthy = await c.submit(pipeline(step("other")))

        c.coordinator.set_slots("hand", {"cpu": 2})

        assert (await c.ended(healthy))[0] is RunState.SUCCEEDED
        state, error = await c.ended(spoilt)
        assert state is RunState.FAILED
        assert "no order can be made" in (error or "")


async def test_a_metric_that_is_no_number_is_kept() -> None:
    async with cluster() as c:
        run_no = await c.submit(ONE_STEP)
        order = await c.order()

        await c.publish(wire(c.completed(order), metrics=[{"name": "loss", "value": math.nan}, {"name": "best", "value": math.inf}]))

        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED
        views = await c.store.read(lambda connection: step_run_views(connection, find_run(connection, "default", str(run_no)), None, 10, 0))
        assert [math.isnan(views[0].metrics[0].value), views[0].metrics[1].value] == [True, math.inf]
