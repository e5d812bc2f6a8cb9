"""Lists that become step runs, and step runs that become lists again."""

import pytest

from penstock.contracts.artifacts import NULL, ListValue, inline
from penstock.contracts.bindings import Binding, Compare, FromItem, FromNode, FromParameter, Literal_
from penstock.contracts.messages import RunOptions
from penstock.contracts.states import AttemptState
from penstock.engine.core.fan import CHUNK, DIRECT
from penstock.engine.core.rows import pack_value
from penstock.engine.core.wants import Collected, Expand
from tests.engine.ledger import Ledger
from tests.engine.small_pipelines import collect, each, fanned, inner, pipeline, step

SQUARES = fanned(each(), inner("square"), collect("square"), result="all-square")


def done(ledger: Ledger, run: int, name: str, *values: object) -> None:
    for item, value in enumerate(values):
        ledger.succeed(run, name, item, value)


def at_least(node: str, number: int) -> Binding:
    return Compare(compare=">=", left=FromNode(node=node), right=Literal_(value=inline(number)))


def test_a_step_inside_runs_once_an_item_and_the_list_has_their_order(ledger: Ledger) -> None:
    run = ledger.submit(SQUARES, xs=[3, 4, 5])
    assert [ledger.order(run, "square", item).inputs["item"] for item in range(3)] == [inline(3), inline(4), inline(5)]

    ledger.succeed(run, "square", 2, 25)
    ledger.succeed(run, "square", 0, 9)
    ledger.succeed(run, "square", 1, 16)

    assert ledger.outputs(run) == {"result": [9, 16, 25]}


def test_a_fan_out_over_nothing_gives_an_empty_list(ledger: Ledger) -> None:
    run = ledger.submit(SQUARES, xs=[])

    assert ledger.outputs(run) == {"result": []}


def test_items_travel_in_batches(ledger: Ledger) -> None:
    run = ledger.submit(fanned(each(batch=2), inner("square"), collect("square")), xs=[1, 2, 3])

    assert ledger.order(run, "square", 0).inputs["item"] == ListValue(list=(inline(1), inline(2)))
    assert ledger.order(run, "square", 1).inputs["item"] == ListValue(list=(inline(3),))


def test_zipped_lists_give_their_items_side_by_side(ledger: Ledger) -> None:
    spec = pipeline(
        each().model_copy(update={"each": (FromParameter(parameter="xs"), FromParameter(parameter="ys"))}),
        step("add", inputs={"x": FromItem(item="each", field=0), "y": FromItem(item="each", field=1)}, scope=("each",)),
        parameters=("xs", "ys"),
    )

    run = ledger.submit(spec, xs=[1, 2], ys=["a", "b"])

    assert ledger.order(run, "add", 1).inputs == {"x": inline(2), "y": inline("b")}


def test_zipped_lists_of_different_lengths_fail(ledger: Ledger) -> None:
    zipped = each().model_copy(update={"each": (FromParameter(parameter="xs"), Literal_(value=inline([1])))})

    run = ledger.submit(fanned(zipped, inner("add")), xs=[1, 2])

    assert ledger.run(run) == "failed: each: each() zips lists of different lengths: 2, 1"


def test_a_fan_out_over_what_is_no_list_fails(ledger: Ledger) -> None:
    run = ledger.submit(SQUARES, xs=7)

    assert ledger.run(run) == "failed: each: each() got something that is not a list"


def test_a_field_of_items_that_are_not_zipped_fails(ledger: Ledger) -> None:
    spec = fanned(each(), step("pick", inputs={"x": FromItem(item="each", field=0)}, scope=("each",)))

    run = ledger.submit(spec, xs=[1])

    assert ledger.run(run) == "failed: pick/0: the items of 'each' are not zipped"


def test_a_fan_out_over_a_skipped_list_is_skipped_with_its_collect(ledger: Ledger) -> None:
    never = step("never", when=(Literal_(value=inline(False)),))
    spec = pipeline(never, each(over=FromNode(node="never")), inner("work"), collect("work"), result="all-work")

    run = ledger.submit(spec)

    assert [ledger.state(run, name) for name in ("never", "each", "all-work")] == ["skipped"] * 3
    assert ledger.outputs(run) == {"result": None}


def test_a_value_from_outside_reaches_every_item_whenever_it_comes(ledger: Ledger) -> None:
    run = ledger.submit(fanned(step("model"), each(), inner("score", "model"), collect("score")), xs=[1, 2])
    assert ledger.states(run, "score") == ["waiting", "waiting"]

    ledger.succeed(run, "model", value=7)

    assert [ledger.order(run, "score", item).inputs["model"] for item in (0, 1)] == [inline(7), inline(7)]


def test_a_value_from_outside_that_was_there_before_the_items_reaches_them(ledger: Ledger) -> None:
    spec = pipeline(step("model"), step("list"), each(over=FromNode(node="list")), inner("score", "model"), collect("score"))
    run = ledger.submit(spec)
    ledger.succeed(run, "model", value=7)

    ledger.succeed(run, "list", value=[1, 2])

    assert [ledger.order(run, "score", item).inputs["model"] for item in (0, 1)] == [inline(7), inline(7)]


# Fan-outs in fan-outs


def nested(ledger: Ledger) -> int:
    spec = fanned(
        each("outer"),
        each("inner", over=FromItem(item="outer"), scope=("outer",)),
        step("cell", inputs={"row": FromItem(item="outer"), "x": FromItem(item="inner")}, scope=("outer", "inner")),
        collect("cell", over="inner", scope=("outer",)),
        collect("all-cell", over="outer"),
        result="all-all-cell",
    )
    return ledger.submit(spec, xs=[[1, 2], [], [3]])


def test_nested_lists_keep_their_shape(ledger: Ledger) -> None:
    run = nested(ledger)

    assert sorted(order.index for order in ledger.orders) == [(0, 0), (0, 1), (2, 0)]
    for order in list(ledger.orders):
        ledger.tell(run, ledger.success(order, inline(f"{order.index}")))

    assert ledger.outputs(run) == {"result": [["(0, 0)", "(0, 1)"], [], ["(2, 0)"]]}


def test_what_is_outside_of_both_fan_outs_reaches_the_innermost_items(ledger: Ledger) -> None:
    spec = fanned(
        step("model"),
        each("outer"),
        each("inner", over=FromItem(item="outer"), scope=("outer",)),
        step("cell", "model", inputs={"x": FromItem(item="inner")}, scope=("outer", "inner")),
    )
    run = ledger.submit(spec, xs=[[1, 2], [3]])

    ledger.succeed(run, "model", value=7)

    assert sorted(order.index for order in ledger.orders[1:]) == [(0, 0), (0, 1), (1, 0)]


# Missing items


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("drop", [1, 3]), ("none", [1, None, 3])],
)
def test_a_failed_item_is_dropped_or_none_where_that_is_asked_for(ledger: Ledger, missing: str, expected: list[object]) -> None:
    run = ledger.submit(fanned(each(), inner("work"), collect("work", missing=missing, at_least=0.5), result="all-work"), xs=[1, 2, 3])
    ledger.succeed(run, "work", 0, 1)
    ledger.fail(run, "work", 1)
    ledger.succeed(run, "work", 2, 3)

    assert ledger.run(run) == "succeeded"
    assert ledger.outputs(run) == {"result": expected}


def test_too_few_items_fail_the_collect(ledger: Ledger) -> None:
    run = ledger.submit(fanned(each(), inner("work"), collect("work", missing="drop", at_least=0.9)), xs=[1, 2])
    ledger.succeed(run, "work", 0)
    ledger.fail(run, "work", 1)

    assert ledger.run(run) == "failed: all-work: 1 of 2 items are there, 90% were asked for (first missing: work/1 failed)"


def test_a_failed_item_fails_the_run_where_all_are_needed(ledger: Ledger) -> None:
    run = ledger.submit(SQUARES, xs=[1, 2])
    ledger.start(run, "square", 0)

    ledger.fail(run, "square", 1)
    ledger.end(ledger.order(run, "square", 0), AttemptState.CANCELLED)

    assert ledger.run(run) == "failed: square/1: boom"


def test_the_list_that_misses_an_item_is_skipped_where_the_run_goes_on(ledger: Ledger) -> None:
    run = ledger.submit(SQUARES, options=RunOptions(keep_going=True), xs=[1, 2])
    ledger.fail(run, "square", 1)
    ledger.succeed(run, "square", 0)

    assert ledger.reason(run, "all-square") == "square/1 failed"


def test_an_item_may_fail_through_the_steps_that_follow_it(ledger: Ledger) -> None:
    spec = fanned(each(), inner("load"), inner("fit", "load"), collect("fit", missing="drop", at_least=0), result="all-fit")
    run = ledger.submit(spec, xs=[1, 2])
    ledger.fail(run, "load", 0)
    ledger.succeed(run, "load", 1)
    ledger.succeed(run, "fit", 1, 5)

    assert ledger.state(run, "fit", 0) == "skipped"
    assert ledger.outputs(run) == {"result": [5]}


# Enough


def test_the_first_item_that_is_good_enough_cancels_the_others(ledger: Ledger) -> None:
    spec = fanned(each(), inner("try"), collect("try", until=at_least("try", 10), missing="drop"), result="all-try")
    run = ledger.submit(spec, xs=[1, 2, 3])
    running = ledger.start(run, "try", 2)
    ledger.succeed(run, "try", 0, 3)

    ledger.succeed(run, "try", 1, 10)

    assert ledger.states(run, "try") == ["succeeded", "succeeded", "cancelled"]
    assert ledger.cancelled == [running.attempt]
    assert ledger.outputs(run) == {"result": [3, 10]}


def test_what_waits_for_a_slot_is_dropped_too(scarce: Ledger) -> None:
    spec = fanned(each(), inner("try"), collect("try", until=at_least("try", 10)), result="all-try")
    run = scarce.submit(spec, xs=[1, 2, 3])
    assert scarce.states(run, "try") == ["running", "ready", "ready"]

    scarce.succeed(run, "try", 0, 10)

    assert scarce.states(run, "try") == ["succeeded", "cancelled", "cancelled"]
    assert scarce.outputs(run) == {"result": [10]}


def test_enough_ends_the_fan_outs_inside(ledger: Ledger) -> None:
    spec = fanned(
        each("outer"),
        inner("score", each="outer"),
        each("inner", over=FromNode(node="score"), scope=("outer",)),
        step("cell", inputs={"x": FromItem(item="inner")}, scope=("outer", "inner")),
        collect("cell", over="inner", scope=("outer",)),
        inner("good", each="outer"),
        collect("good", over="outer", until=at_least("good", 1), missing="drop"),
        result="all-good",
    )
    run = ledger.submit(spec, xs=[1, 2])
    ledger.succeed(run, "score", 0, [5, 6])
    assert ledger.states(run, "cell") == ["running", "running"]

    ledger.succeed(run, "good", 1, 1)

    assert ledger.states(run, "cell") == ["cancelled", "cancelled"]
    assert ledger.run(run) == "succeeded"


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("expected", ["succeeded", "released", "lost"])
def test_a_report_on_what_is_not_needed_any_more_closes_its_attempt(ledger: Ledger, expected: str, *, ends: bool) -> None:
    last = () if ends else (step("last", "all-try"),)
    run = ledger.submit(fanned(each(), inner("try"), collect("try", until=at_least("try", 10)), *last), xs=[1, 2])
    order = ledger.start(run, "try", 0)
    ledger.succeed(run, "try", 1, 10)

    match expected:
        case "succeeded":
            ledger.tell(run, ledger.success(order, inline(1)))
        case "released":
            ledger.release(order)
        case _:
            ledger.lose(order)

    assert ledger.attempt_state(order.attempt) == expected
    assert ledger.state(run, "try", 0) == "cancelled"
    assert ledger.run(run) == ("succeeded" if ends else "running")


# Long lists


def test_a_list_that_is_too_long_to_travel_is_collected_outside_of_the_decision(ledger: Ledger) -> None:
    run = ledger.submit(SQUARES, xs=list(range(DIRECT + 1)))
    done(ledger, run, "square", *range(DIRECT + 1))
    place = (ledger.node(run, "all-square"), 0)
    assert [(chore.node, chore.item) for chore in ledger.chores] == [place]

    ledger.tell(run, Collected(place, ledger.packed(result=inline("the list"))))
    ledger.tell(run, Collected(place, None, "too late"))

    assert ledger.outputs(run) == {"result": "the list"}


@pytest.mark.parametrize(("missing", "expected"), [("fail", "skipped"), ("drop", "failed")])
def test_a_long_list_that_can_not_be_made_is_skipped_or_fails(ledger: Ledger, missing: str, expected: str) -> None:
    spec = fanned(each(), inner("square"), collect("square", missing=missing))
    run = ledger.submit(spec, xs=list(range(DIRECT + 1)))
    done(ledger, run, "square", *range(DIRECT + 1))

    ledger.tell(run, Collected((ledger.node(run, "all-square"), 0), None, "work/1 failed"))

    assert ledger.state(run, "all-square") == expected


def test_items_of_a_long_list_are_written_down_in_chunks(ledger: Ledger) -> None:
    long = ListValue(list=tuple(inline(number) for number in range(CHUNK + 10)))
    run = ledger.submit_values(fanned(each(), inner("work", cache=False), collect("work")), xs=long)
    place = (ledger.node(run, "each"), 0)
    assert ledger.state(run, "each") == "expanding"
    values = [pack_value(inline(number)) for number in range(CHUNK + 10)]

    ledger.tell(run, Expand(place, 0, len(values), values[:CHUNK]))
    ledger.tell(run, Expand(place, 0, len(values), values[:CHUNK]))
    assert ledger.state(run, "each") == "expanding"
    ledger.tell(run, Expand(place, CHUNK, len(values), values[CHUNK:]))

    assert ledger.state(run, "each") == "succeeded"
    assert len(ledger.states(run, "work")) == CHUNK + 10


def test_enough_while_items_are_still_written_down_ends_the_fan_out(ledger: Ledger) -> None:
    long = ListValue(list=tuple(inline(number) for number in range(CHUNK + 10)))
    spec = fanned(each(), inner("try", cache=False), collect("try", until=at_least("try", 10), missing="drop"), result="all-try")
    run = ledger.submit_values(spec, xs=long)
    values = [pack_value(inline(number)) for number in range(3)]
    ledger.tell(run, Expand((ledger.node(run, "each"), 0), 0, CHUNK + 10, values))

    ledger.succeed(run, "try", 1, 10)

    assert ledger.state(run, "each") == "succeeded"
    assert ledger.states(run, "try") == ["cancelled", "succeeded", "cancelled"]
    assert ledger.outputs(run) == {"result": [10]}


def test_a_cancelled_run_writes_no_more_items_down(ledger: Ledger) -> None:
    long = ListValue(list=tuple(inline(number) for number in range(CHUNK + 10)))
    run = ledger.submit_values(fanned(each(), inner("work")), xs=long)

    ledger.stop(run)
    ledger.tell(run, Expand((ledger.node(run, "each"), 0), 0, CHUNK + 10, [pack_value(NULL)]))

    assert ledger.run(run) == "cancelled"
    assert ledger.states(run, "work") == []
