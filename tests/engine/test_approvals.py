"""Approvals as they are decided: asked, answered, expired, withdrawn; and what a rerun keeps of them."""

from typing import Any

import pytest

from penstock.contracts.access import Principal, Role
from penstock.contracts.approvals import ApprovalView, DecisionRequest, may_decide
from penstock.contracts.artifacts import inline
from penstock.contracts.bindings import FromItem, FromNode, FromParameter, Literal_, Template, TemplatePart
from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import RunOptions
from penstock.contracts.pools import decode_pool
from penstock.contracts.spec import PipelineSpec
from penstock.engine.core.wants import Decided
from penstock.engine.people.approvals import approval, approvals, decide
from penstock.engine.pools import check_pools
from penstock.engine.queries import find_run, run_view, step_run_views
from penstock.engine.timers import due
from penstock.engine.why import why
from tests.engine.ledger import SECOND, Ledger
from tests.engine.small_pipelines import APPROVED, ask, collect, each, fanned, inner, pipeline, step


def gated(**target: Any) -> PipelineSpec:
    """A pipeline that asks, and deploys where people approve."""
    return pipeline(ask(**target), step("deploy", when=(APPROVED,)), result="ok")


def answer(ledger: Ledger, run: int, approved: bool, *, by: str = "ada", comment: str = "", index: tuple[int, ...] = ()) -> ApprovalView:
    """Somebody answers by rows; nobody has decided it yet."""
    asked = approval(ledger.connection, "default", f"run-{run}", "ok" if index else None, index)
    request = DecisionRequest.model_construct(approved=approved, comment=comment)
    return decide(ledger.connection, "default", asked, request, by=by, now=ledger.now)


def hear(ledger: Ledger) -> None:
    """The coordinator looks at its timers."""
    for run, fact in due(ledger.connection, ledger.now, None):
        ledger.tell(run, fact)


def open_approvals(ledger: Ledger) -> list[ApprovalView]:
    return approvals(ledger.connection, "default")


def test_a_step_that_asks_takes_no_slot_and_the_run_waits(ledger: Ledger) -> None:
    run = ledger.submit(gated())

    assert ledger.state(run, "ok") == "asking"
    assert ledger.given_out == []
    assert ledger.run(run) == "running"
    (asked,) = open_approvals(ledger)
    assert (asked.question, asked.approvers, asked.address) == ("Deploy?", ("ml-leads",), "ok")


@pytest.mark.parametrize(("approved", "state"), [(True, "running"), (False, "skipped")])
def test_the_answer_is_a_value_that_conditions_look_at(ledger: Ledger, approved: bool, state: str) -> None:
    run = ledger.submit(gated())

    answer(ledger, run, approved, comment="looks good")
    hear(ledger)

    assert ledger.state(run, "deploy") == state
    assert ledger.state(run, "ok") == "succeeded"
    if approved:
        ledger.succeed(run, "deploy")
    assert ledger.outputs(run) == {"result": {"approved": approved, "by": "ada", "comment": "looks good"}}
    assert ledger.timers(run) == []


def test_the_question_is_a_text_with_values_of_the_run_in_it_and_evidence_goes_with_it(ledger: Ledger) -> None:
    question = Template(template=("Deploy at ", TemplatePart(of=FromNode(node="score"), format=".2f"), "?"))

    run = ledger.submit(pipeline(step("score"), ask(question, evidence={"score": FromNode(node="score")})))
    ledger.succeed(run, "score", value=0.9123)

    (asked,) = open_approvals(ledger)
    assert asked.question == "Deploy at 0.91?"
    assert asked.evidence == {"score": inline(0.9123)}


def test_a_question_that_is_no_text_fails_the_step(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(ask(Literal_(value=inline(3)))))

    assert ledger.run(run).startswith("failed: ok: the question of an approval is text")


def test_a_skipped_input_skips_the_question(ledger: Ledger) -> None:
    never = step("never", when=(Literal_(value=inline(False)),))

    run = ledger.submit(pipeline(never, ask(evidence={"never": FromNode(node="never")})))

    assert ledger.state(run, "ok") == "skipped"
    assert open_approvals(ledger) == []


@pytest.mark.parametrize(
    ("on_timeout", "ended", "deployed"),
    [("approve", "succeeded", "running"), ("reject", "succeeded", "skipped"), ("fail", "failed", "cancelled")],
)
def test_nobody_answers_in_time(ledger: Ledger, on_timeout: str, ended: str, deployed: str) -> None:
    run = ledger.submit(gated(timeout_seconds=60, on_timeout=on_timeout))
    assert ledger.timers(run) == [("expire", 60)]

    ledger.fire(run, "expire", again=True)

    assert ledger.state(run, "ok") == ended
    assert ledger.state(run, "deploy") == deployed
    assert approval(ledger.connection, "default", f"run-{run}", "ok").state == "expired"
    with pytest.raises(InvalidInput, match=r"the time to answer ok of small-1 is over"):
        answer(ledger, run, True)


def test_an_answer_in_time_counts_though_its_coordinator_hears_of_the_timeout_first(ledger: Ledger) -> None:
    run = ledger.submit(gated(timeout_seconds=60))
    answer(ledger, run, True)

    ledger.fire(run, "expire")

    assert ledger.state(run, "deploy") == "running"
    hear(ledger)
    assert ledger.timers(run) == []


def test_an_answer_after_the_time_is_refused_before_anybody_noticed(ledger: Ledger) -> None:
    run = ledger.submit(gated(timeout_seconds=60))
    ledger.now += 61 * SECOND

    with pytest.raises(InvalidInput, match="is over"):
        answer(ledger, run, True)


def test_the_same_answer_again_changes_nothing_and_another_one_is_refused(ledger: Ledger) -> None:
    run = ledger.submit(gated())
    answer(ledger, run, True)

    answer(ledger, run, True)
    with pytest.raises(InvalidInput, match="was approved by ada already"):
        answer(ledger, run, False, by="bob")
    hear(ledger)
    hear(ledger)
    ledger.tell(run, Decided((ledger.node(run, "ok"), 0), approved=False, by="bob"))

    assert ledger.state(run, "deploy") == "running"


def test_a_cancelled_run_withdraws_its_questions(ledger: Ledger) -> None:
    run = ledger.submit(gated(timeout_seconds=60))

    ledger.stop(run)

    assert ledger.run(run) == "cancelled"
    assert open_approvals(ledger) == []
    assert ledger.timers(run) == []
    with pytest.raises(InvalidInput, match="not asked any more"):
        answer(ledger, run, True)


def test_an_answer_that_meets_the_end_of_its_run_changes_nothing(ledger: Ledger) -> None:
    run = ledger.submit(gated())
    answer(ledger, run, True)
    ledger.stop(run)

    hear(ledger)
    hear(ledger)

    assert ledger.run(run) == "cancelled"
    assert ledger.state(run, "deploy") == "cancelled"


def test_another_step_that_fails_withdraws_the_question(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(ask(), step("other")))

    ledger.fail(run, "other")

    assert ledger.state(run, "ok") == "cancelled"
    assert open_approvals(ledger) == []


def test_every_item_of_a_fan_out_asks_for_itself(ledger: Ledger) -> None:
    question = Template(template=("Deploy to ", TemplatePart(of=FromItem(item="each")), "?"))
    spec = fanned(each(), ask(question, scope=("each",)), inner("deploy", when=(APPROVED,)), collect("deploy", missing="drop", at_least=0))

    run = ledger.submit(spec, xs=["eu", "us"])
    asked = open_approvals(ledger)
    assert [(view.address, view.question) for view in asked] == [("ok/0", "Deploy to eu?"), ("ok/1", "Deploy to us?")]
    with pytest.raises(InvalidInput, match="waits for 2 approvals; name one: ok/0, ok/1"):
        answer(ledger, run, True)
    answer(ledger, run, True, index=(1,))
    hear(ledger)

    assert ledger.states(run, "deploy") == ["waiting", "running"]
    answer(ledger, run, False)
    hear(ledger)
    assert ledger.states(run, "deploy") == ["skipped", "running"]


def test_items_that_are_not_needed_any_more_withdraw_their_questions(ledger: Ledger) -> None:
    spec = fanned(
        each(), ask(scope=("each",)), inner("deploy", when=(APPROVED,)), collect("deploy", until=FromNode(node="deploy"), missing="drop")
    )
    run = ledger.submit(spec, xs=["eu", "us"])
    answer(ledger, run, True, index=(1,))
    hear(ledger)

    ledger.succeed(run, "deploy", 1, value=True)

    assert ledger.states(run, "ok") == ["cancelled", "succeeded"]
    assert open_approvals(ledger) == []
    assert ledger.run(run) == "succeeded"


def test_a_new_run_asks_again(ledger: Ledger) -> None:
    run = ledger.submit(gated())
    answer(ledger, run, True)
    hear(ledger)

    again = ledger.submit(gated())

    assert ledger.state(again, "ok") == "asking"


def test_a_rerun_keeps_the_answer_of_an_approval_that_it_does_not_run_again(ledger: Ledger) -> None:
    run = ledger.submit(gated())
    answer(ledger, run, True)
    hear(ledger)
    ledger.fail(run, "deploy")

    again = ledger.submit(gated(), options=RunOptions(pinned_from=f"run-{run}"))

    assert ledger.state(again, "deploy") == "running"
    assert ledger.reason(again, "ok") == "kept from the run that this one reruns"


def test_a_rerun_asks_again_where_the_question_changed_or_the_approval_is_rerun(ledger: Ledger) -> None:
    spec = pipeline(ask(FromParameter(parameter="question")), step("deploy", when=(APPROVED,)), parameters=("question",))
    run = ledger.submit(spec, question="Deploy 1?")
    answer(ledger, run, True)
    hear(ledger)

    other = ledger.submit(spec, options=RunOptions(pinned_from=f"run-{run}"), question="Deploy 2?")
    forced = ledger.submit(spec, options=RunOptions(pinned_from=f"run-{run}", rerun=("ok",)), question="Deploy 1?")

    assert (ledger.state(other, "ok"), ledger.state(forced, "ok")) == ("asking", "asking")


def test_what_it_waits_for_is_told(ledger: Ledger) -> None:
    run = ledger.submit(gated(timeout_seconds=3600, approvers=("ml-leads", "ada")))
    row = find_run(ledger.connection, "default", f"run-{run}")
    told = "waits for approval by ml-leads or ada since 1970-01-01 00:16 UTC, until 1970-01-01 01:16 UTC: Deploy?"

    assert run_view(ledger.connection, row, ledger.now).steps[0].note == told
    assert step_run_views(ledger.connection, row, "ok", 1, ledger.now)[0].reason == told
    assert why(ledger.connection, "default", f"run-{run}", "ok", (), ledger.now).verdict == told

    answer(ledger, run, False, comment="too early")
    hear(ledger)

    assert why(ledger.connection, "default", f"run-{run}", "ok", (), ledger.now).verdict == "rejected by ada: too early"


def test_no_pool_has_to_have_room_for_an_approval() -> None:
    check_pools({"gpu": decode_pool({"name": "gpu"})}, pipeline(ask()), {})


@pytest.mark.parametrize("comment", ["x" * 2001, "\x00", "a\x1bb"])
def test_a_comment_that_can_not_be_kept_is_refused(ledger: Ledger, comment: str) -> None:
    run = ledger.submit(gated())

    with pytest.raises(InvalidInput, match="a comment is text"):
        answer(ledger, run, True, comment=comment)


@pytest.mark.parametrize(
    ("role", "name", "approvers", "may"),
    [
        (Role.ADMIN, "root", ("ada",), True),
        (Role.OPERATOR, "ada", (), True),
        (Role.VIEWER, "ada", (), False),
        (Role.VIEWER, "ada", ("ada",), True),
        (Role.VIEWER, "ada", ("ml-leads",), True),
        (Role.AUTHOR, "bob", ("ada",), False),
    ],
)
def test_who_may_answer(role: Role, name: str, approvers: tuple[str, ...], may: bool) -> None:
    groups = ("ml-leads",) if name == "ada" else ()

    assert may_decide(Principal(name=name, role=role, groups=groups), approvers) is may
