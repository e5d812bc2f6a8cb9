"""What reports of attempts change: each once, whenever and however often they come."""

import pytest

from penstock.contracts.artifacts import inline
from penstock.contracts.messages import AttemptOutcome, Claim, RunOptions, Started
from penstock.contracts.states import AttemptState, FailureKind
from penstock.engine.core.retry import INFRASTRUCTURE_BUDGET
from penstock.engine.core.wants import Stop
from tests.engine.ledger import Ledger
from tests.engine.small_pipelines import ONCE_MORE, pipeline, step

CHAIN = pipeline(step("first"), step("second", "first"), result="second")
WARY = pipeline(step("once", idempotent=False))


def test_a_success_gives_its_output_to_the_next_step_and_the_last_one_ends_the_run(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)

    ledger.succeed(run, "first", value=41)
    assert ledger.order(run, "second").inputs == {"first": inline(41)}
    ledger.succeed(run, "second", value=42)

    assert ledger.run(run) == "succeeded"
    assert ledger.outputs(run) == {"result": 42}


def test_the_same_success_twice_counts_once(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.succeed(run, "first")

    ledger.tell(run, ledger.success(order, inline(2)))

    assert len(ledger.orders) == 2
    assert ledger.order(run, "second").inputs == {"first": inline(1)}


def test_a_failure_after_a_success_of_the_same_attempt_is_not_heard(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.succeed(run, "first")

    ledger.end(order, AttemptState.FAILED)

    assert ledger.state(run, "first") == "succeeded"


def test_a_report_with_another_token_changes_nothing(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.order(run, "first")

    ledger.tell(run, ledger.success(order, inline(1)).model_copy(update={"token": "forged"}))

    assert ledger.state(run, "first") == "running"


def test_an_attempt_that_nobody_knows_is_denied(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.order(run, "first")
    unknown = order.attempt.model_copy(update={"attempt_no": 7})
    token = ledger.token(unknown)

    ledger.tell(run, Started(attempt=unknown, token=token, runner="r"))
    ledger.tell(run, Claim(attempt=unknown, token=token, runner="r", reply_to="q"))

    assert [answer.reason for answer in ledger.answers] == ["there is no such attempt"]
    assert ledger.state(run, "first") == "running"


# Failures and retries


def test_a_failure_fails_the_run_and_cancels_what_was_to_follow(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)

    ledger.fail(run, "first")

    assert ledger.run(run) == "failed: first: boom"
    assert ledger.state(run, "second") == "cancelled"


def test_a_failure_without_a_reason_still_has_one(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)

    ledger.end(ledger.order(run, "first"), AttemptState.FAILED)

    assert ledger.run(run) == "failed: first: it failed without a reason"


def test_a_failure_that_may_be_tried_again_waits_for_its_timer(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("flaky", retries=ONCE_MORE)))

    first = ledger.fail(run, "flaky")
    assert ledger.state(run, "flaky") == "backoff"
    assert ledger.timers(run) == [("retry", 10)]
    ledger.fire(run, "retry")

    second = ledger.order(run, "flaky")
    assert second.attempt.attempt_no == first.attempt.attempt_no + 1
    ledger.fail(run, "flaky")
    assert ledger.run(run) == "failed: flaky: boom"


def test_a_timer_that_fires_twice_makes_one_attempt(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("flaky", retries=ONCE_MORE)))
    ledger.fail(run, "flaky")

    ledger.fire(run, "retry", again=True)

    assert len(ledger.orders) == 2


def test_retries_for_another_kind_of_failure_are_not_used(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("picky", retries=ONCE_MORE.model_copy(update={"on": ("memory",)}))))

    ledger.fail(run, "picky", kind=FailureKind.ERROR)

    assert ledger.state(run, "picky") == "failed"


def test_an_allowed_failure_leaves_the_run_as_it_is(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("may_fail", allow_failure=True), step("then", after=("may_fail",)), result="then"))

    ledger.fail(run, "may_fail")
    ledger.succeed(run, "then")

    assert ledger.run(run) == "succeeded"


def test_a_run_that_keeps_going_does_what_does_not_need_the_failed_step(ledger: Ledger) -> None:
    spec = pipeline(step("bad"), step("below", "bad"), step("beside"), result="beside")
    run = ledger.submit(spec, options=RunOptions(keep_going=True))

    ledger.fail(run, "bad")
    ledger.succeed(run, "beside")

    assert ledger.state(run, "below") == "skipped"
    assert ledger.run(run) == "failed: bad: boom"


# Attempts that come to nothing


def test_an_order_that_was_given_back_is_made_again(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    first = ledger.order(run, "first")

    ledger.release(first)
    ledger.release(first)

    assert ledger.order(run, "first").attempt.attempt_no == first.attempt.attempt_no + 1


def test_a_step_whose_runners_always_go_fails_in_the_end(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)

    for _ in range(INFRASTRUCTURE_BUDGET + 1):
        ledger.lose(ledger.start(run, "first"))

    assert len(ledger.orders) == INFRASTRUCTURE_BUDGET + 1
    assert "its attempts were lost 6 times" in ledger.run(run)


def test_attempts_that_were_lost_with_the_users_own_process_do_not_count(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)

    for _ in range(INFRASTRUCTURE_BUDGET + 3):
        ledger.lose(ledger.start(run, "first"), counts=False)

    assert ledger.state(run, "first") == "running"


def test_a_step_that_may_not_run_twice_fails_when_it_may_have_begun(ledger: Ledger) -> None:
    run = ledger.submit(WARY)

    ledger.lose(ledger.start(run, "once"))

    assert "it may not run twice" in ledger.run(run)


def test_a_step_that_may_not_run_twice_is_ordered_again_where_it_never_began(ledger: Ledger) -> None:
    run = ledger.submit(WARY)

    ledger.lose(ledger.order(run, "once"))

    assert len(ledger.orders) == 2


def test_an_attempt_that_its_runner_stopped_by_itself_is_made_again(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)

    ledger.end(ledger.order(run, "first"), AttemptState.CANCELLED)

    assert ledger.state(run, "first") == "running"
    assert len(ledger.orders) == 2


# Attempts that were given up too early


def test_the_success_of_a_runner_that_was_taken_for_gone_counts(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    first = ledger.start(run, "first")
    ledger.lose(first)
    second = ledger.order(run, "first")

    ledger.tell(run, ledger.success(first, inline(5)))

    assert ledger.order(run, "second").inputs == {"first": inline(5)}
    assert ledger.cancelled == [second.attempt]


def test_the_success_of_a_lost_attempt_counts_while_the_next_one_waits_for_a_slot(scarce: Ledger) -> None:
    run = scarce.submit(pipeline(step("first"), step("second", "first"), step("other")))
    first = scarce.start(run, "first")
    scarce.lose(first)
    assert scarce.state(run, "first") == "ready"

    scarce.tell(run, scarce.success(first, inline(5)))

    assert scarce.state(run, "first") == "succeeded"


def test_a_lost_attempt_that_is_still_running_may_go_on(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    first = ledger.start(run, "first")
    ledger.lose(first)

    ledger.tell(run, Started(attempt=first.attempt, token=first.token, runner="runner-1"))

    assert ledger.cancelled == []


def test_an_attempt_that_can_come_to_nothing_any_more_is_told_to_stop(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.succeed(run, "first")

    ledger.tell(run, Started(attempt=order.attempt, token=order.token, runner="runner-1"))

    assert ledger.cancelled == [order.attempt]


# Claims


def test_the_first_claim_of_a_step_that_may_not_run_twice_is_granted(ledger: Ledger) -> None:
    run = ledger.submit(WARY)
    order = ledger.order(run, "once")

    answer = ledger.claim(order)

    assert (answer.granted, answer.attempt) == (True, order.attempt)
    assert answer.token == order.token


def test_the_same_runner_may_claim_again(ledger: Ledger) -> None:
    run = ledger.submit(WARY)
    order = ledger.order(run, "once")
    ledger.claim(order)

    assert ledger.claim(order).granted


def test_a_runner_that_was_started_again_under_its_name_holds_nothing(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("careful", idempotent=False)))
    order = ledger.order(run, "careful")
    ledger.claim(order)

    assert not ledger.claim(order, incarnation="second").granted


def test_what_another_runner_holds_is_denied(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.start(run, "first", runner="runner-1")

    assert ledger.claim(order, runner="runner-2").reason == "another runner holds it"


def test_a_redelivered_order_is_executed_under_an_attempt_of_its_own(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.order(run, "first")

    answer = ledger.claim(order)

    assert answer.granted
    assert answer.attempt is not None
    assert answer.attempt.attempt_no == order.attempt.attempt_no + 1
    assert answer.token == ledger.token(answer.attempt)


def test_a_closed_attempt_is_denied(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.succeed(run, "first")

    assert ledger.claim(order).reason == "the attempt is closed"


def test_a_claim_in_a_stopped_run_is_denied_and_its_step_run_ends(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.order(run, "first")
    ledger.stop(run)

    assert ledger.claim(order).reason == "the run was cancelled"
    assert ledger.run(run) == "cancelled"


# Stopped runs


def test_a_cancelled_run_waits_for_what_it_executes(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.start(run, "first")

    ledger.stop(run)
    assert ledger.cancelled == [order.attempt]
    assert ledger.run(run) == "running"
    ledger.end(order, AttemptState.CANCELLED)

    assert ledger.run(run) == "cancelled"
    assert ledger.state(run, "second") == "cancelled"


@pytest.mark.parametrize("outcome", [AttemptState.SUCCEEDED, AttemptState.FAILED])
def test_what_ends_otherwise_in_a_stopped_run_is_kept(ledger: Ledger, outcome: AttemptOutcome) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.start(run, "first")
    ledger.stop(run)

    ledger.end(order, outcome)

    assert ledger.state(run, "first") == outcome.value
    assert ledger.run(run) == "cancelled"


def test_a_runner_that_goes_while_its_run_is_stopped_ends_its_step_run(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.start(run, "first")
    ledger.stop(run)

    ledger.lose(order)

    assert ledger.run(run) == "cancelled"


def test_a_runner_that_never_answers_is_waited_for_until_the_grace_is_over(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.start(run, "first")
    ledger.stop(run)
    assert ledger.timers(run) == [("abandon", 20)]

    ledger.fire(run, "abandon")

    assert ledger.run(run) == "cancelled"
    assert ledger.attempt_state(order.attempt) == "lost"


def test_a_run_over_its_time_limit_fails(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN, options=RunOptions(timeout_seconds=30))

    ledger.fire(run, "timeout")
    ledger.end(ledger.order(run, "first"), AttemptState.CANCELLED)

    assert "30" in ledger.run(run)
    assert ledger.run(run).startswith("failed: ")


# Reports that come when the run has ended


def test_reports_of_an_ended_run_close_their_attempts_and_change_nothing_else(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("a"), step("b"), step("c"), step("d")))
    a, b, c, d = (ledger.start(run, name) for name in "abcd")
    ledger.stop(run)
    ledger.fire(run, "abandon")
    ledger.cancelled.clear()

    ledger.tell(run, Started(attempt=a.attempt, token=a.token, runner="runner-1"))
    ledger.tell(run, ledger.success(b, inline(1)))
    ledger.release(c)
    ledger.lose(d)

    assert ledger.cancelled == [a.attempt]
    assert ledger.claim(d).reason == "its run has ended"
    assert ledger.run(run) == "cancelled"
    assert [ledger.state(run, name) for name in "abcd"] == ["cancelled"] * 4


def test_who_lost_the_answer_to_a_claim_is_granted_the_same_attempt_again(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.order(run, "first")

    granted = ledger.claim(order)

    assert ledger.claim(order) == granted
    assert granted.attempt is not None
    assert granted.attempt.attempt_no == 2
    assert not ledger.claim(order, incarnation="second").granted


def test_an_order_that_ends_one_runner_after_the_other_ends_with_its_step(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.order(run, "first")
    for number in range(INFRASTRUCTURE_BUDGET):
        granted = ledger.claim(order, runner=f"runner-{number}")
        assert granted.attempt is not None
        ledger.lose(order.model_copy(update={"attempt": granted.attempt}), counts=False)
        order = ledger.order(run, "first")

    answer = ledger.claim(order, runner="runner-last")

    assert not answer.granted
    assert "its attempts were lost 6 times" in ledger.run(run)


def test_nobody_gives_back_what_another_runner_holds(ledger: Ledger) -> None:
    run = ledger.submit(WARY)
    order = ledger.order(run, "once")
    assert ledger.claim(order, runner="holder").granted

    ledger.release(order)
    ledger.tell(run, ledger.success(order, inline(1)).model_copy(update={"runner": "holder"}))

    assert len(ledger.orders) == 1
    assert ledger.run(run) == "succeeded"


def test_a_success_counts_though_somebody_else_gave_the_order_back(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    order = ledger.order(run, "first")

    ledger.release(order)
    ledger.tell(run, ledger.success(order, inline(1)))

    assert ledger.state(run, "first") == "succeeded"


def test_what_is_given_back_again_and_again_is_ordered_after_growing_pauses(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    pauses: list[int] = []
    for _ in range(INFRASTRUCTURE_BUDGET):
        ledger.release(ledger.order(run, "first"))
        if timers := ledger.timers(run):
            pauses += [seconds for _, seconds in timers]
            ledger.fire(run, "retry")

    assert pauses == [1, 4, 15, 60]


# Cancelling


HOOKED = pipeline(step("first"), hooks={"on_exit": step("told")})


def test_a_cancellation_that_is_heard_twice_leaves_no_hook(ledger: Ledger) -> None:
    run = ledger.submit(HOOKED)
    ledger.end(ledger.order(run, "first"), AttemptState.FAILED)
    assert ledger.run(run).startswith("finishing")

    ledger.stop(run)

    assert ledger.state(run, "told") == "running"
    ledger.tell(run, Stop("cancelled", leaves_hooks=True))
    assert ledger.run(run).startswith("failed")
