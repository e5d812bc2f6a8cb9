"""Which steps a run executes, and how it ends."""

from penstock.contracts.artifacts import NULL, inline
from penstock.contracts.bindings import Compare, FromItem, FromNode, FromParameter, Literal_, Select
from penstock.contracts.messages import RunOptions
from penstock.contracts.spec import StepSpec, encode_spec
from penstock.contracts.states import AttemptState
from penstock.engine.core.decision import CASCADE
from penstock.engine.core.plan import plan_of
from penstock.engine.core.wants import Woken
from tests.engine.ledger import Ledger
from tests.engine.small_pipelines import collect, each, fanned, inner, pipeline, step

GATE = Compare(compare=">", left=FromNode(node="score"), right=Literal_(value=inline(0.5)))


# Conditions


def test_a_true_condition_lets_a_step_run(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("score"), step("deploy", when=(GATE,))))

    ledger.succeed(run, "score", value=0.9)

    assert ledger.state(run, "deploy") == "running"


def test_a_false_condition_skips_a_step_and_what_needs_it(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("score"), step("deploy", when=(GATE,)), step("tell", "deploy"), result="tell"))

    ledger.succeed(run, "score", value=0.1)

    assert ledger.reason(run, "deploy") == "its condition is false"
    assert ledger.reason(run, "tell") == "deploy was skipped"
    assert ledger.run(run) == "succeeded"
    assert ledger.outputs(run) == {"result": None}


def test_a_condition_over_what_was_skipped_skips(ledger: Ledger) -> None:
    never = step("score", when=(Literal_(value=inline(0)),))

    run = ledger.submit(pipeline(never, step("deploy", when=(GATE,))))

    assert ledger.reason(run, "deploy") == "score was skipped"


def test_a_step_that_takes_none_runs_on_a_skipped_input(ledger: Ledger) -> None:
    never = step("never", when=(Literal_(value=inline(0)),))

    run = ledger.submit(pipeline(never, step("tell", "never", accepts_none=("never",))))

    assert ledger.order(run, "tell").inputs == {"never": NULL}


def test_an_order_without_data_is_kept(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("first"), step("second", after=("first",))))
    assert ledger.state(run, "second") == "waiting"

    ledger.succeed(run, "first")

    assert ledger.state(run, "second") == "running"


def test_what_comes_after_a_skipped_step_is_skipped(ledger: Ledger) -> None:
    never = step("first", when=(Literal_(value=inline(0)),))

    run = ledger.submit(pipeline(never, step("second", after=("first",))))

    assert ledger.reason(run, "second") == "first skipped"


def test_an_input_that_can_not_be_made_fails_its_step(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("first"), step("second", inputs={"x": Select(select=("lr",), of=FromNode(node="first"))})))

    ledger.succeed(run, "first", value={"rate": 1})

    assert ledger.run(run) == "failed: second: the value has no part 'lr': {\"rate\": 1}"


# Options


def test_a_run_stops_at_the_step_where_it_was_asked_to(ledger: Ledger) -> None:
    spec = fanned(step("first"), each(), inner("work", "first"), collect("work"), step("last", "all-work"), step("aside"), result="last")
    run = ledger.submit(spec, options=RunOptions(until="work"), xs=[1])

    ledger.succeed(run, "first")
    ledger.succeed(run, "work")

    assert ledger.run(run) == "succeeded"
    assert ledger.states(run, "last") == ledger.states(run, "aside") == []
    assert ledger.outputs(run) == {}


def test_a_run_is_held_to_its_share_of_slots(ledger: Ledger) -> None:
    run = ledger.submit(fanned(each(), inner("work")), options=RunOptions(max_parallel=2), xs=[1, 2, 3])
    assert ledger.states(run, "work") == ["running", "running", "ready"]

    ledger.succeed(run, "work", 0)

    assert ledger.states(run, "work") == ["succeeded", "running", "running"]


def test_the_run_with_the_higher_priority_gets_the_next_slot(scarce: Ledger) -> None:
    first = scarce.submit(pipeline(step("a")))
    low = scarce.submit(pipeline(step("b")))
    high = scarce.submit(pipeline(step("c")), options=RunOptions(priority=5))

    scarce.succeed(first, "a")

    assert (scarce.state(low, "b"), scarce.state(high, "c")) == ("ready", "running")


def test_a_step_goes_to_the_pool_that_the_run_names(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("a"), step("b")), options=RunOptions(pools={"a": "gpu"}))

    assert (ledger.state(run, "a"), ledger.state(run, "b")) == ("ready", "running")


def test_more_than_one_transaction_can_start_is_left_for_the_next(ledger: Ledger) -> None:
    names = [f"s{number}" for number in range(CASCADE + 1)]

    run = ledger.submit(pipeline(*(step(name) for name in names)))

    assert {ledger.state(run, name) for name in (names[0], names[-1])} <= {"running", "ready"}


def test_who_is_woken_without_waiting_stays_as_it_is(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("a")))

    ledger.tell(run, Woken((0, 0)))

    assert ledger.state(run, "a") == "running"


# Hooks


def hook(name: str) -> StepSpec:
    return step(name, types={"run": "RunSummary"}, cache=False)


def test_the_hooks_of_a_success_run_when_all_else_has_ended(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("work"), hooks={"on_success": hook("glad"), "on_failure": hook("sad"), "on_exit": hook("told")}))

    ledger.succeed(run, "work", tags={"stage": "production"})
    assert ledger.run(run) == "finishing"
    summary = ledger.plain_inputs(run, "glad")["run"]
    ledger.succeed(run, "glad")
    ledger.succeed(run, "told")

    assert ledger.run(run) == "succeeded"
    assert ledger.states(run, "sad") == []
    assert (summary["state"], summary["tags"], summary["failed_steps"]) == ("succeeded", {"stage": "production"}, [])


def test_the_hooks_of_a_failure_learn_what_failed(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("work"), hooks={"on_failure": hook("sad")}))

    ledger.fail(run, "work")
    summary = ledger.plain_inputs(run, "sad")["run"]
    ledger.succeed(run, "sad")

    assert (summary["state"], summary["error"], summary["failed_steps"]) == ("failed", "work: boom", ["work"])
    assert ledger.run(run) == "failed: work: boom"


def test_a_failing_hook_leaves_the_end_of_the_run_as_it_is(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("work"), hooks={"on_exit": hook("told")}))

    ledger.succeed(run, "work")
    ledger.fail(run, "told")

    assert ledger.run(run) == "succeeded"


def test_a_cancelled_run_has_its_exit_hook(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("work"), hooks={"on_exit": hook("told"), "on_failure": hook("sad")}))

    ledger.stop(run)
    ledger.end(ledger.order(run, "work"), AttemptState.CANCELLED)
    ledger.succeed(run, "told")

    assert ledger.run(run) == "cancelled"


def test_a_run_with_many_tags_tells_its_hooks_as_many_as_travel(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("work"), hooks={"on_exit": hook("told")}))

    ledger.succeed(run, "work", tags={f"{number:03}": "x" * 100 for number in range(100)})

    assert 0 < len(ledger.plain_inputs(run, "told")["run"]["tags"]) < 100


def test_a_run_of_nothing_has_ended(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(parameters=("x",)).model_copy(update={"outputs": {"result": FromParameter(parameter="x")}}), x=7)

    assert ledger.run(run) == "succeeded"
    assert ledger.outputs(run) == {"result": 7}


# Plans


def test_what_a_step_depends_on_is_found_through_fan_outs() -> None:
    spec = fanned(step("a"), step("b"), each(over=FromNode(node="a")), inner("c"), collect("c"), step("d", "all-c", "b"))
    plan = plan_of(encode_spec(spec))

    assert {plan.nodes[number].name for number in plan.up_to("c")} == {"a", "each", "c"}


def test_items_of_a_fan_out_around_are_known_inside(ledger: Ledger) -> None:
    spec = fanned(
        each("outer"),
        each("inner", over=FromItem(item="outer"), scope=("outer",)),
        each("third", over=FromItem(item="inner"), scope=("outer", "inner")),
        step("cell", inputs={"all": FromItem(item="outer"), "x": FromItem(item="third")}, scope=("outer", "inner", "third")),
    )

    run = ledger.submit(spec, xs=[[[1]], [[2, 3]]])

    last = max(ledger.orders, key=lambda order: order.index)
    assert last.index == (1, 0, 1)
    assert ledger.plain_inputs(run, "cell", last.attempt.item_no) == {"all": [[2, 3]], "x": 3}
