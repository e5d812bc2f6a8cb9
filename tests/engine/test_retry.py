"""How long a failed step waits for its next attempt."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.messages import Failure
from penstock.contracts.spec import RetrySpec
from penstock.contracts.states import FailureKind
from penstock.engine.core.retry import MICROSECONDS, GiveUp, Retry, after_failure

ERROR = Failure(kind=FailureKind.ERROR, message="boom")


def delay(policy: RetrySpec, failures: int, seed: str = "seed") -> float:
    """The seconds until the next attempt."""
    verdict = after_failure(policy, ERROR, failures, seed, now=0)
    assert isinstance(verdict, Retry)
    return verdict.at / MICROSECONDS


def test_pauses_grow_by_the_factor_up_to_the_longest() -> None:
    policy = RetrySpec(limit=9, delay_seconds=1, factor=3, max_delay_seconds=20, jitter=0)

    assert [delay(policy, failures) for failures in range(1, 6)] == [1, 3, 9, 20, 20]


@given(st.text(), st.integers(1, 5))
def test_jitter_stays_within_its_share_and_is_the_same_when_decided_again(seed: str, failures: int) -> None:
    policy = RetrySpec(limit=9, delay_seconds=10, factor=1, jitter=0.2)

    drawn = delay(policy, failures, seed)

    assert 8 <= drawn <= 12
    assert delay(policy, failures, seed) == drawn


def test_step_runs_that_fail_together_do_not_come_back_together() -> None:
    policy = RetrySpec(limit=9, delay_seconds=10, jitter=0.2)

    assert len({delay(policy, 1, f"run/{number}") for number in range(50)}) == 50


def test_after_the_last_retry_it_says_that_they_are_used_up() -> None:
    assert after_failure(RetrySpec(limit=2), ERROR, 3, "seed", 0) == GiveUp("its retries are used up")


def test_without_retries_there_is_nothing_to_say() -> None:
    assert after_failure(RetrySpec(), ERROR, 1, "seed", 0) == GiveUp("")


def test_a_failure_of_another_kind_is_not_tried_again() -> None:
    assert after_failure(RetrySpec(limit=2, on=("memory", "timeout")), ERROR, 1, "seed", 0) == GiveUp(
        "its retries are for memory, timeout only"
    )
