"""When a step run is not executed, since its outputs are known."""

import pytest

from penstock.contracts.artifacts import ArtifactRef, inline
from penstock.contracts.messages import RunOptions
from penstock.contracts.states import AttemptState
from penstock.engine.core.rows import NONDETERMINISTIC, RECOMPUTED
from penstock.engine.core.wants import Checked, Collected
from tests.engine.ledger import SECOND, Ledger
from tests.engine.small_pipelines import ONCE_MORE, collect, each, fanned, inner, pipeline, step

CHAIN = pipeline(step("first"), step("second", "first"), result="second")


def stored(name: str) -> ArtifactRef:
    """Bytes in the artifact store."""
    return ArtifactRef(uri=f"cas:sha256:{name}", digest=f"sha256:{name}", size=9000)


def finished(ledger: Ledger, value: object = 1) -> int:
    run = ledger.submit(CHAIN)
    ledger.succeed(run, "first", value=value)
    ledger.succeed(run, "second", value=2)
    return run


def test_what_was_computed_once_is_not_executed_again(ledger: Ledger) -> None:
    finished(ledger)

    run = ledger.submit(CHAIN)

    assert ledger.run(run) == "succeeded"
    assert ledger.outputs(run) == {"result": 2}
    assert {order.attempt.run_no for order in ledger.orders} == {1}


def test_forced_steps_are_executed_and_those_below_only_where_bytes_differ(ledger: Ledger) -> None:
    finished(ledger)

    same = ledger.submit(CHAIN, options=RunOptions(rerun=("first",)))
    ledger.succeed(same, "first", value=1)
    assert ledger.run(same) == "succeeded"

    other = ledger.submit(CHAIN, options=RunOptions(rerun=("first",)))
    ledger.succeed(other, "first", value=7)
    assert ledger.state(other, "second") == "running"


def test_other_outputs_for_the_same_key_are_noticed(ledger: Ledger) -> None:
    finished(ledger)

    run = ledger.submit(CHAIN, options=RunOptions(rerun=("first",)))
    ledger.succeed(run, "first", value=7)

    assert ledger.flags(run, "first") & NONDETERMINISTIC


def test_a_step_that_is_not_cached_is_executed_each_time(ledger: Ledger) -> None:
    spec = pipeline(step("first", cache=False))
    ledger.succeed(ledger.submit(spec), "first")

    assert ledger.state(ledger.submit(spec), "first") == "running"


def test_a_result_that_depends_on_the_run_is_not_reused(ledger: Ledger) -> None:
    spec = pipeline(step("first"))
    ledger.succeed(ledger.submit(spec), "first", saw_identity=True)

    assert ledger.state(ledger.submit(spec), "first") == "running"


def test_a_result_is_reused_for_as_long_as_the_step_says(ledger: Ledger) -> None:
    spec = pipeline(step("first", cache_seconds=60))
    ledger.succeed(ledger.submit(spec), "first")

    ledger.now += 60 * SECOND
    assert ledger.run(ledger.submit(spec)) == "succeeded"
    ledger.now += 1
    assert ledger.state(ledger.submit(spec), "first") == "running"


# Bytes that may be gone


def test_bytes_that_were_seen_lately_are_not_looked_for(ledger: Ledger) -> None:
    spec = pipeline(step("first"))
    run = ledger.submit(spec)
    ledger.tell(run, ledger.success(ledger.order(run, "first"), stored("a")))

    assert ledger.run(ledger.submit(spec)) == "succeeded"


def test_a_hit_whose_bytes_are_still_there_counts(ledger: Ledger) -> None:
    run = checking(ledger)

    ledger.tell(run, Checked((0, 0), ()))
    ledger.tell(run, Checked((0, 0), ("sha256:a",)))

    assert ledger.run(run) == "succeeded"
    assert ledger.run(ledger.submit(pipeline(step("first")))) == "succeeded"


def test_a_hit_whose_bytes_are_gone_is_executed(ledger: Ledger) -> None:
    run = checking(ledger)

    ledger.tell(run, Checked((0, 0), ("sha256:a",)))
    assert ledger.state(run, "first") == "running"
    ledger.succeed(run, "first")

    assert ledger.run(run) == "succeeded"


def checking(ledger: Ledger) -> int:
    """A run whose step has found outputs that nobody saw for long."""
    spec = pipeline(step("first"))
    run = ledger.submit(spec)
    ledger.tell(run, ledger.success(ledger.order(run, "first"), stored("a")))
    ledger.now += 3600 * SECOND
    again = ledger.submit(spec)
    assert ledger.state(again, "first") == "checking"
    return again


def test_a_lost_input_is_made_again_and_what_needs_it_waits(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    ledger.tell(run, ledger.success(ledger.order(run, "first"), stored("a")))

    ledger.end(ledger.order(run, "second"), AttemptState.INPUT_LOST, lost_digest="sha256:a")
    assert (ledger.state(run, "first"), ledger.state(run, "second")) == ("running", "waiting")
    assert ledger.flags(run, "first") & RECOMPUTED
    ledger.tell(run, ledger.success(ledger.order(run, "first"), stored("b")))
    assert ledger.order(run, "second").inputs == {"first": stored("b")}
    ledger.succeed(run, "second")

    assert ledger.run(run) == "succeeded"


def test_an_input_that_no_step_made_fails_the_step(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    ledger.succeed(run, "first")

    ledger.end(ledger.order(run, "second"), AttemptState.INPUT_LOST, lost_digest="sha256:z")

    assert "no step of this run can make it again" in ledger.run(run)


def test_an_input_that_is_lost_again_and_again_fails_the_step(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)

    for _ in range(6):
        ledger.tell(run, ledger.success(ledger.order(run, "first"), stored("a")))
        ledger.end(ledger.order(run, "second"), AttemptState.INPUT_LOST, lost_digest="sha256:a")

    assert "was lost again and again" in ledger.run(run)


def test_a_lost_item_of_a_collected_list_is_made_again(ledger: Ledger) -> None:
    run = ledger.submit(fanned(each(), inner("work"), collect("work"), step("sum", "all-work")), xs=[1, 2])
    for item in (0, 1):
        ledger.tell(run, ledger.success(ledger.order(run, "work", item), stored(f"item-{item}")))

    ledger.end(ledger.order(run, "sum"), AttemptState.INPUT_LOST, lost_digest="sha256:item-1")
    assert ledger.states(run, "work") == ["succeeded", "running"]
    ledger.tell(run, ledger.success(ledger.order(run, "work", 1), stored("item-1")))
    ledger.succeed(run, "sum")

    assert ledger.run(run) == "succeeded"


def test_a_lost_list_is_collected_again(ledger: Ledger) -> None:
    run = ledger.submit(fanned(each(), inner("work"), collect("work"), step("sum", "all-work")), xs=list(range(65)))
    for item in range(65):
        ledger.succeed(run, "work", item)
    place = (ledger.node(run, "all-work"), 0)
    ledger.tell(run, Collected(place, ledger.packed(result=stored("list"))))

    ledger.end(ledger.order(run, "sum"), AttemptState.INPUT_LOST, lost_digest="sha256:list")
    assert ledger.state(run, "all-work") == "collecting"
    ledger.tell(run, Collected(place, ledger.packed(result=stored("list"))))
    ledger.succeed(run, "sum")

    assert ledger.run(run) == "succeeded"


def test_a_lost_value_that_a_fan_out_below_uses_is_made_again_for_all_items(ledger: Ledger) -> None:
    run = ledger.submit(fanned(step("model"), each(), inner("score", "model"), collect("score")), xs=[1, 2])
    ledger.tell(run, ledger.success(ledger.order(run, "model"), stored("m")))

    ledger.end(ledger.order(run, "score", 0), AttemptState.INPUT_LOST, lost_digest="sha256:m")
    ledger.end(ledger.order(run, "score", 1), AttemptState.INPUT_LOST, lost_digest="sha256:m")
    assert ledger.states(run, "score") == ["waiting", "waiting"]
    ledger.tell(run, ledger.success(ledger.order(run, "model"), stored("m")))
    for item in (0, 1):
        ledger.succeed(run, "score", item)

    assert ledger.run(run) == "succeeded"


# The same key at the same time


def test_of_two_step_runs_with_one_key_one_is_executed(ledger: Ledger) -> None:
    spec = pipeline(step("first"))
    one, other = ledger.submit(spec), ledger.submit(spec)
    assert (ledger.state(one, "first"), ledger.state(other, "first")) == ("running", "parked")

    ledger.succeed(one, "first", value=5)

    assert ledger.run(other) == "succeeded"
    assert len(ledger.orders) == 1


@pytest.mark.parametrize("retries", [ONCE_MORE, ONCE_MORE.model_copy(update={"limit": 0})])
def test_where_the_first_fails_the_second_is_executed(ledger: Ledger, retries: object) -> None:
    spec = pipeline(step("first", retries=retries))
    one, other = ledger.submit(spec), ledger.submit(spec)

    ledger.fail(one, "first")

    assert ledger.state(other, "first") == "running"


def test_where_the_first_run_is_cancelled_the_second_is_executed(ledger: Ledger) -> None:
    spec = pipeline(step("first"))
    one, other = ledger.submit(spec), ledger.submit(spec)

    ledger.stop(one)
    ledger.end(ledger.order(one, "first"), AttemptState.CANCELLED)

    assert ledger.state(other, "first") == "running"


# Reruns


def test_a_rerun_keeps_what_it_does_not_rerun_and_executes_what_is_below(ledger: Ledger) -> None:
    spec = pipeline(step("first", cache=False), step("second", "first", cache=False), step("third", "second", cache=False), result="third")
    old = ledger.submit(spec)
    for name in ("first", "second", "third"):
        ledger.succeed(old, name)

    run = ledger.submit(spec, options=RunOptions(rerun=("second",), pinned_from="run-1"))

    assert ledger.reason(run, "first") == "kept from the run that this one reruns"
    assert ledger.order(run, "second").inputs == {"first": inline(1)}
    assert ledger.state(run, "third") == "waiting"


def test_a_rerun_of_a_failed_run_goes_on_where_it_failed(ledger: Ledger) -> None:
    spec = pipeline(step("first", cache=False), step("second", "first"), result="second")
    old = ledger.submit(spec)
    ledger.succeed(old, "first")
    ledger.fail(old, "second")

    run = ledger.submit(spec, options=RunOptions(pinned_from="run-1"))
    ledger.succeed(run, "second")

    assert ledger.run(run) == "succeeded"
