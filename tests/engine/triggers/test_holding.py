from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.triggers import BatchPolicy, Concurrency, Debounce, Throttle
from penstock.engine.triggers.arrivals import Arrival
from penstock.engine.triggers.holding import Batched, Debounced, Queue, Replace, Skip, Start, batched, debounced, placed, throttled_until

SECOND = 1_000_000


def arrival(number: int, seconds: float = 0.0) -> Arrival:
    return Arrival(event_no=number, received_us=int(seconds * SECOND))


def test_the_last_event_of_a_burst_counts_once_nothing_else_came() -> None:
    policy = Debounce(seconds=10)
    burst = [arrival(1), arrival(2, 5), arrival(3, 14)]

    assert debounced(policy, burst, 20 * SECOND) == Debounced(remaining=burst, until_us=24 * SECOND)
    assert debounced(policy, burst, 24 * SECOND) == Debounced(fire=burst[2:], superseded=burst[:2])


def test_a_burst_ends_after_its_longest_time() -> None:
    policy = Debounce(seconds=10, at_most_seconds=12)
    burst = [arrival(1), arrival(2, 5), arrival(3, 11)]

    assert debounced(policy, burst, 11 * SECOND) == Debounced(remaining=burst, until_us=12 * SECOND)
    assert debounced(policy, burst, 12 * SECOND) == Debounced(fire=burst[2:], superseded=burst[:2])


def test_bursts_stay_apart_however_late_that_is_decided() -> None:
    one, two = [arrival(1), arrival(2, 5)], [arrival(3, 15), arrival(4, 16)]

    assert debounced(Debounce(seconds=10), two + one, 3600 * SECOND) == Debounced(fire=[one[1], two[1]], superseded=[one[0], two[0]])


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(1, 10), st.none() | st.integers(1, 30), st.integers(0, 100))
def test_debounced_one_by_one_or_all_at_once_is_the_same(gaps: list[int], seconds: int, at_most: int | None, more: int) -> None:
    policy = Debounce(seconds=seconds, at_most_seconds=at_most)
    arrivals = [arrival(number, at) for number, at in enumerate(accumulate(gaps))]
    now = (arrivals[-1].received_us if arrivals else 0) + more * SECOND
    held: list[Arrival] = []
    fired: list[Arrival] = []
    superseded: list[Arrival] = []
    for one in [*arrivals, None]:
        found = debounced(policy, [*held, one] if one else held, one.received_us if one else now)
        held, fired, superseded = found.remaining, fired + found.fire, superseded + found.superseded

    at_once = debounced(policy, arrivals, now)

    assert (at_once.fire, at_once.superseded, at_once.remaining) == (fired, superseded, held)
    assert sorted(fired + superseded + held) == arrivals


def test_a_batch_is_made_when_it_is_full() -> None:
    policy = BatchPolicy(size=2)
    some = [arrival(1), arrival(2, 5), arrival(3, 6)]

    assert batched(policy, some, 6 * SECOND) == Batched(groups=[(some[0], some[1])], remaining=some[2:])


def test_a_batch_is_made_when_its_time_is_over() -> None:
    policy = BatchPolicy(size=100, seconds=10)
    some = [arrival(1), arrival(2, 5)]

    assert batched(policy, some, 9 * SECOND) == Batched(remaining=some, until_us=10 * SECOND)
    assert batched(policy, some, 10 * SECOND) == Batched(groups=[tuple(some)])
    assert batched(policy, [*some, arrival(3, 10)], 11 * SECOND) == Batched(
        groups=[tuple(some)], remaining=[arrival(3, 10)], until_us=20 * SECOND
    )


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(2, 5), st.none() | st.integers(1, 20))
def test_batches_are_no_larger_than_they_may_be_and_nothing_is_lost(gaps: list[int], size: int, seconds: int | None) -> None:
    arrivals = [arrival(number, at) for number, at in enumerate(accumulate(gaps))]

    found = batched(BatchPolicy(size=size, seconds=seconds), reversed(arrivals), arrivals[-1].received_us if arrivals else 0)

    assert [one for group in found.groups for one in group] + found.remaining == arrivals
    assert all(len(group) <= size for group in found.groups)
    assert len(found.remaining) < size
    if seconds is not None:
        assert all(group[-1].received_us - group[0].received_us < seconds * SECOND for group in found.groups)


def test_nothing_held_waits_for_nothing() -> None:
    assert debounced(Debounce(seconds=1), [], 0) == Debounced()
    assert batched(BatchPolicy(), [], 0) == Batched()


def test_a_throttled_run_waits_until_its_window_has_a_place() -> None:
    policy = Throttle(count=2, seconds=60)

    assert throttled_until(policy, [], 0) is None
    assert throttled_until(policy, [0], 10 * SECOND) is None
    assert throttled_until(policy, [10 * SECOND, 0], 20 * SECOND) == 60 * SECOND
    assert throttled_until(policy, [10 * SECOND, 0], 60 * SECOND) is None
    assert throttled_until(policy, [0, 10 * SECOND, 20 * SECOND], 30 * SECOND) == 70 * SECOND


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.integers(1, 4), st.integers(1, 30))
def test_no_window_has_more_runs_than_the_throttle_lets_through(gaps: list[int], count: int, seconds: int) -> None:
    policy = Throttle(count=count, seconds=seconds)
    starts: list[int] = []
    for asked in accumulate(gaps):
        now = max(asked * SECOND, starts[-1] if starts else 0)
        while (until := throttled_until(policy, starts, now)) is not None:
            assert until > now
            now = until
        starts.append(now)

    for first, later in zip(starts, starts[count:], strict=False):
        assert later - first >= seconds * SECOND


def test_what_becomes_of_the_next_run_is_as_the_policy_says() -> None:
    assert placed(Concurrency(), []) == Start()
    assert placed(Concurrency(), ["a"]) == Queue()
    assert placed(Concurrency(limit=2), ["a"]) == Start()
    assert placed(Concurrency(limit=2), ["a"], others_wait=True) == Queue()
    assert placed(Concurrency(limit=2, policy="skip"), ["a", "b"]) == Skip("2 of its runs go on, 2 at most")
    assert placed(Concurrency(policy="skip"), []) == Start()
    assert placed(Concurrency(policy="replace"), []) == Start()
    assert placed(Concurrency(policy="replace"), ["a"]) == Replace(("a",))
    assert placed(Concurrency(limit=2, policy="replace"), ["a", "b", "c"]) == Replace(("a", "b"))
