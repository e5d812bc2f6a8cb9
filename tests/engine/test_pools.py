"""Pools: what a definition admits, how many slots a step takes, what a draining pool gives out, and where a step goes for more memory."""

from typing import Any

import pytest

from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import RunOptions
from penstock.contracts.pools import PoolSpec
from penstock.contracts.spec import PipelineSpec, ResourcesSpec, RetrySpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.engine.core.placement import Placement, placement
from penstock.engine.pools import defined_pool, drain_pool, pools_of, remove_pool, scale_pool
from tests.engine.ledger import SECOND, Ledger
from tests.engine.small_pipelines import pipeline, step

GIB = 2**30
SLOT = {"cpu": 2, "memory_bytes": 4 * GIB}
ONCE = RetrySpec(limit=1, delay_seconds=1, jitter=0)


def needing(name: str = "work", **resources: Any) -> PipelineSpec:
    """A pipeline of one step that needs so much."""
    return pipeline(step(name, resources=ResourcesSpec(**resources), cache=False))


def test_where_no_pool_is_defined_any_name_is_accepted_and_a_step_takes_one_slot(ledger: Ledger) -> None:
    ledger.slots["default", "lavish"] = [1]

    run = ledger.submit(pipeline(step("work", pool="lavish", resources=ResourcesSpec(cpu=64, gpu=8))))

    assert ledger.order(run, "work").slots == 1


def test_a_step_takes_the_slots_that_its_resources_need(ledger: Ledger) -> None:
    ledger.define(slot=SLOT, slots_per_runner=4)

    run = ledger.submit(needing(cpu=1, memory_bytes=12 * GIB))

    assert (ledger.order(run, "work").slots, ledger.order(run, "work").slots_per_runner) == (3, 4)


def test_what_has_no_room_waits_and_is_not_overtaken(ledger: Ledger) -> None:
    ledger.define(slot=SLOT, slots_per_runner=4)
    first = ledger.submit(needing("first", cpu=6))
    large = ledger.submit(needing("large", cpu=8))
    small = ledger.submit(needing("small", cpu=1))

    assert ledger.given_out == ["first"]

    ledger.succeed(first, "first")
    assert ledger.given_out == ["first", "large"]

    ledger.succeed(large, "large")
    assert ledger.order(small, "small").slots == 1


def test_what_no_runner_of_those_that_are_there_has_room_for_does_not_hold_others_up(ledger: Ledger) -> None:
    ledger.define(slot=SLOT, slots_per_runner=4)
    ledger.slots["default", "cpu"] = [2, 2]
    ledger.submit(needing("large", cpu=8))
    ledger.submit(needing("small", cpu=1))

    assert ledger.given_out == ["small"]


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"cpu": 9}, "'work' needs 9 CPUs; a runner of the pool 'cpu' has 8 CPUs, 16.0 GiB"),
        ({"memory_bytes": 17 * GIB}, "needs 1 CPU, 17.0 GiB"),
        ({"gpu": 1}, "needs 1 CPU, 1 GPU;"),
    ],
)
def test_a_step_that_no_runner_could_ever_execute_is_refused(ledger: Ledger, resources: dict[str, Any], words: str) -> None:
    ledger.define(slot=SLOT, slots_per_runner=4)

    with pytest.raises(InvalidInput, match=words):
        ledger.submit(needing(**resources))


def test_an_unknown_pool_is_refused_where_pools_are_defined(ledger: Ledger) -> None:
    ledger.define()

    with pytest.raises(InvalidInput, match="the pool 'cpus', which is not defined; did you mean 'cpu'"):
        ledger.submit(pipeline(step("work", pool="cpus")))


def test_the_pool_that_a_run_names_for_a_step_is_checked_instead_of_the_steps_own(ledger: Ledger) -> None:
    ledger.define("gpu", slot={"gpu": 1}, slots_per_runner=2)

    run = ledger.submit(needing(gpu=2), options=RunOptions(pools={"work": "gpu"}))

    assert (ledger.order(run, "work").pool, ledger.order(run, "work").slots) == ("gpu", 2)


def test_a_draining_pool_gives_nothing_out_until_it_drains_no_more(ledger: Ledger) -> None:
    ledger.define()
    drain_pool(ledger.connection, "default", "cpu", 1, is_draining=True)

    run = ledger.submit(needing())
    assert ledger.given_out == []

    drain_pool(ledger.connection, "default", "cpu", 2, is_draining=False)
    ledger.tell(run)
    ledger.submit(needing("other"))
    assert sorted(ledger.given_out) == ["other", "work"]


def test_a_definition_that_is_applied_again_leaves_a_pool_draining(ledger: Ledger) -> None:
    ledger.define()
    drain_pool(ledger.connection, "default", "cpu", 1, is_draining=True)

    ledger.define(slots_per_runner=8)

    found = defined_pool(ledger.connection, "default", "cpu")
    assert found is not None
    assert (found.is_draining, found.slots_per_runner) == (True, 8)


def test_what_is_ready_takes_the_slots_of_the_newest_definition(ledger: Ledger) -> None:
    ledger.define(slot=SLOT, slots_per_runner=4)
    ledger.slots["default", "cpu"] = [0]
    run = ledger.submit(needing(cpu=4))

    ledger.define(slot={"cpu": 1}, slots_per_runner=4)
    ledger.submit(needing("other"))

    assert ledger.order(run, "work").slots == 4


def test_a_scaled_pool_keeps_the_rest_of_its_definition(ledger: Ledger) -> None:
    ledger.define(slot=SLOT, max_runners=3, on_memory="large")

    scaled = scale_pool(ledger.connection, "default", "cpu", 1, (2, None))

    assert (scaled.min_runners, scaled.max_runners, scaled.on_memory, scaled.slot.cpu) == (2, 3, "large", 2)
    with pytest.raises(InvalidInput, match="above max_runners"):
        scale_pool(ledger.connection, "default", "cpu", 1, (4, None))


def test_a_pool_that_is_not_defined_can_be_neither_scaled_nor_drained_nor_removed(ledger: Ledger) -> None:
    ledger.define()

    with pytest.raises(InvalidInput, match="did you mean 'cpu'"):
        scale_pool(ledger.connection, "default", "cpuu", 1, (0, 1))
    with pytest.raises(InvalidInput, match="no pool 'gpu' is defined"):
        drain_pool(ledger.connection, "default", "gpu", 1, is_draining=True)
    remove_pool(ledger.connection, "default", "cpu")
    assert pools_of(ledger.connection, "default") == {}


# Memory


def fail_for_memory(ledger: Ledger, run: int) -> None:
    ledger.fail(run, "work", kind=FailureKind.MEMORY)
    if "retry" in dict(ledger.timers(run)):
        ledger.fire(run, "retry")


def test_a_step_that_ran_out_of_memory_gets_twice_the_slots_and_their_memory(ledger: Ledger) -> None:
    ledger.define(slot=SLOT, slots_per_runner=4)
    run = ledger.submit(needing(memory_bytes=3 * GIB))

    fail_for_memory(ledger, run)

    order = ledger.order(run, "work")
    assert (order.attempt.attempt_no, order.slots, order.memory_bytes) == (2, 2, 8 * GIB)


def test_without_retries_it_has_one_more_try_with_more_memory(ledger: Ledger) -> None:
    ledger.define(slot=SLOT, slots_per_runner=4)
    run = ledger.submit(needing())

    fail_for_memory(ledger, run)
    fail_for_memory(ledger, run)

    assert ledger.run(run).startswith("failed: work: boom")
    assert [order.slots for order in ledger.orders] == [1, 2]


def test_retries_for_memory_go_on_up_to_a_whole_runner_and_then_to_the_larger_pool(ledger: Ledger) -> None:
    ledger.define(slot=SLOT, slots_per_runner=3, on_memory="large")
    ledger.define("large", slot={"cpu": 4, "memory_bytes": 16 * GIB}, slots_per_runner=4)
    policy = RetrySpec(limit=4, delay_seconds=1, jitter=0, on=("memory",))
    run = ledger.submit(pipeline(step("work", retries=policy)))

    for _ in range(4):
        fail_for_memory(ledger, run)

    assert [(order.pool, order.slots) for order in ledger.orders] == [("cpu", 1), ("cpu", 2), ("cpu", 3), ("large", 2), ("large", 4)]


def test_where_no_more_memory_is_to_be_had_a_failure_for_memory_is_one_like_others(ledger: Ledger) -> None:
    ledger.define(slots_per_runner=1)
    run = ledger.submit(pipeline(step("work", retries=ONCE)))

    fail_for_memory(ledger, run)
    fail_for_memory(ledger, run)

    assert [order.slots for order in ledger.orders] == [1, 1]
    assert ledger.run(run).startswith("failed")


def test_another_failure_gives_no_more_slots(ledger: Ledger) -> None:
    ledger.define(slots_per_runner=4)
    run = ledger.submit(pipeline(step("work", retries=ONCE)))

    ledger.fail(run, "work")
    ledger.fire(run, "retry")

    assert [order.slots for order in ledger.orders] == [1, 1]


def test_a_lost_runner_costs_no_retry_and_gives_no_more_slots(ledger: Ledger) -> None:
    ledger.define(slots_per_runner=4)
    run = ledger.submit(needing())

    ledger.lose(ledger.order(run, "work"))

    assert [order.slots for order in ledger.orders] == [1, 1]
    assert ledger.attempt_state(ledger.orders[0].attempt) == AttemptState.LOST.value


@pytest.mark.parametrize("raises", range(6))
def test_more_memory_is_never_less(raises: int) -> None:
    pools = {
        name: PoolSpec.model_validate({"name": name, "slot": {"memory_bytes": gib * GIB}, "slots_per_runner": 3, "on_memory": larger})
        for name, gib, larger in (("small", 2, "large"), ("large", 5, None))
    }

    def memory(place: Placement) -> int:
        limit = pools[place.pool].slot.memory_bytes
        assert limit is not None
        return place.slots * limit

    before, after = (placement(pools, "small", ResourcesSpec(), number) for number in (raises, raises + 1))
    assert memory(after) >= memory(before)


# Limits


def three(**fields: Any) -> PipelineSpec:
    return pipeline(*(step(name, cache=False, **fields) for name in ("a", "b", "c")))


def test_a_pool_gives_out_as_many_at_once_as_its_limit_says(ledger: Ledger) -> None:
    ledger.define(slots_per_runner=10, limits=[{"at_once": 2}])

    run = ledger.submit(three())
    assert len(ledger.orders) == 2

    ledger.succeed(run, ledger.given_out[0])
    assert len(ledger.orders) == 3


def test_what_is_at_a_limit_waits_and_the_others_of_its_pool_go_on(ledger: Ledger) -> None:
    ledger.define(slots_per_runner=10, limits=[{"step": "small/a", "at_once": 1}])

    for _ in range(300):
        ledger.submit(pipeline(step("a", cache=False)))
    ledger.submit(pipeline(step("b", cache=False)))

    assert ledger.given_out == ["a", "b"]


def test_a_limit_for_each_value_of_a_tag_holds_for_each_apart(ledger: Ledger) -> None:
    ledger.define(slots_per_runner=10, limits=[{"key": "customer", "at_once": 1}])

    runs = [ledger.submit(three(), tags=tags) for tags in ({"customer": "x"}, {"customer": "y"}, {})]

    assert [sum(order.attempt.run_no == run for order in ledger.orders) for run in runs] == [1, 1, 3]


def test_a_rate_lets_through_what_it_says_and_no_more(ledger: Ledger) -> None:
    ledger.define(slots_per_runner=100, limits=[{"step": "small/a", "per_second": 2}])
    runs = [ledger.submit(pipeline(step("a", cache=False))) for _ in range(10)]
    made: list[int] = []

    for _ in range(40):
        ledger.now += SECOND // 10
        ledger.dispatch()
        made.append(len(ledger.orders))

    assert made[9] in (2, 3)
    assert made[39] in (8, 9)
    assert len(runs) == 10


def test_an_attempt_that_is_lost_makes_room_under_its_limit(ledger: Ledger) -> None:
    ledger.define(slots_per_runner=10, limits=[{"at_once": 1}])
    first = ledger.submit(pipeline(step("a", cache=False)))
    second = ledger.submit(pipeline(step("b", cache=False)))

    ledger.succeed(first, "a")

    assert ledger.state(second, "b") == "running"


def test_those_who_wait_for_the_same_result_take_nothing_of_a_limit(ledger: Ledger) -> None:
    ledger.define(slots_per_runner=10, limits=[{"step": "small/a", "at_once": 2, "per_second": 1}])

    runs = [ledger.submit(pipeline(step("a"))) for _ in range(2)]
    ledger.now += 2 * SECOND
    other = ledger.submit(pipeline(step("a", code="other")))

    assert ledger.state(runs[1], "a") == "parked"
    assert ledger.state(other, "a") == "running"


def test_a_run_whose_first_step_is_limited_by_rate_is_woken_when_the_rate_lets_it_through(ledger: Ledger) -> None:
    ledger.define(slots_per_runner=10, limits=[{"per_second": 2}])
    ledger.submit(three())

    at = ledger.next_at

    assert at is not None
    assert 0 < at - ledger.now <= SECOND // 2 + 1
