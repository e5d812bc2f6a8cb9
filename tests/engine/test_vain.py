"""Which attempts are executed in vain."""

from penstock.contracts.messages import AttemptKey
from penstock.engine.vain import DOUBT_SECONDS, Doubts, in_vain
from tests.engine.ledger import Ledger
from tests.engine.small_pipelines import ONCE_MORE, pipeline, step

CHAIN = pipeline(step("first"), step("second", "first"))


def test_nothing_can_come_of_the_attempts_of_steps_that_have_ended(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    lost = ledger.start(run, "first").attempt
    ledger.lose(ledger.order(run, "first"))

    assert in_vain(ledger.connection, [lost, ledger.order(run, "first").attempt]) == []
    ended = ledger.succeed(run, "first").attempt
    unknown = AttemptKey(run_no=77, step_no=0, item_no=0, attempt_no=1)
    assert sorted(key.attempt_no for key in in_vain(ledger.connection, [lost, ended, unknown])) == [1, 2]


def test_nothing_can_come_of_an_attempt_that_has_told_its_end(ledger: Ledger) -> None:
    run = ledger.submit(pipeline(step("first", retries=ONCE_MORE)))
    failed = ledger.fail(run, "first").attempt

    assert ledger.state(run, "first") == "backoff"
    assert in_vain(ledger.connection, [failed]) == [failed]


def test_an_attempt_that_has_just_ended_is_in_no_doubt() -> None:
    doubts, attempt = Doubts(), AttemptKey(run_no=1, step_no=0, item_no=0, attempt_no=1)
    doubts.heard([attempt])

    assert doubts.take([attempt], at=0) == []
    doubts.heard([attempt])
    assert doubts.take([], at=1) == []
    assert doubts.take([], at=1 + DOUBT_SECONDS) == []
    doubts.heard([attempt])
    assert doubts.take([], at=1 + DOUBT_SECONDS) == [attempt]
