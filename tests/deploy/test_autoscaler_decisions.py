"""How many runners a pool should have: examples, and what holds for every course of demand."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from penstock.contracts.pools import PoolSpec
from penstock.deploy.autoscaler.scaling import Decision, Needs, PoolDemand, PoolRunner, decide, needed

POOL = PoolSpec(name="cpu", slots_per_runner=4, max_runners=3, idle_seconds=60)


def idle(*names: str) -> list[PoolRunner]:
    return [PoolRunner(name=name, is_idle=True) for name in names]


def waiting(slots: int) -> PoolDemand:
    return PoolDemand(waiting=slots)


# Examples


@pytest.mark.parametrize(("slots", "runners"), [(0, 0), (1, 1), (4, 1), (5, 2), (12, 3), (100, 3)])
def test_every_slot_that_is_asked_for_is_there_up_to_the_most_runners(slots: int, runners: int) -> None:
    assert decide(POOL, waiting(slots), [], (), now=0).start == runners


def test_what_is_executed_needs_slots_as_what_waits_does() -> None:
    assert needed(POOL, PoolDemand(waiting=3, executing=4)) == 2


def test_the_least_runners_are_there_without_demand() -> None:
    assert decide(POOL.model_copy(update={"min_runners": 2}), waiting(0), idle("a"), (), now=0).start == 1


def test_an_idle_runner_ends_once_nothing_has_needed_it_for_long() -> None:
    busy = decide(POOL, waiting(8), idle("a", "b"), (), now=0)
    early = decide(POOL, waiting(0), idle("a", "b"), busy.needs, now=59)
    late = decide(POOL, waiting(0), idle("a", "b"), early.needs, now=60)

    assert (early.drain, late.drain) == ((), ("a", "b"))


def test_demand_that_comes_back_starts_the_wait_anew() -> None:
    needs = decide(POOL, waiting(8), idle("a", "b"), (), now=0).needs
    needs = decide(POOL, waiting(5), idle("a", "b"), needs, now=50).needs

    assert decide(POOL, waiting(0), idle("a", "b"), needs, now=100).drain == ()
    assert decide(POOL, waiting(0), idle("a", "b"), needs, now=110).drain == ("a", "b")


def test_a_smaller_need_within_the_wait_keeps_as_many_as_it_needs() -> None:
    needs = decide(POOL, waiting(12), idle("a", "b", "c"), (), now=0).needs
    needs = decide(POOL, waiting(4), idle("a", "b", "c"), needs, now=30).needs

    assert len(decide(POOL, waiting(0), idle("a", "b", "c"), needs, now=65).drain) == 2


def test_a_runner_that_works_is_never_ended() -> None:
    runners = [PoolRunner(name="busy"), *idle("idle")]
    needs = decide(POOL, waiting(0), runners, (), now=0).needs

    assert decide(POOL, waiting(0), runners, needs, now=1000).drain == ("idle",)


def test_an_autoscaler_that_was_started_anew_ends_nothing_in_a_hurry() -> None:
    first = decide(POOL, waiting(0), idle("a", "b"), (), now=500)

    assert first.drain == ()
    assert decide(POOL, waiting(0), idle("a", "b"), first.needs, now=560).drain == ("a", "b")


def test_a_runner_that_drains_takes_up_room_but_does_no_work() -> None:
    draining = PoolRunner(name="a", is_draining=True)

    assert decide(POOL, waiting(4), [draining], (), now=0).start == 1
    assert decide(POOL.model_copy(update={"max_runners": 1}), waiting(4), [draining], (), now=0).start == 0


def test_a_pool_that_drains_gets_no_runner_for_what_waits() -> None:
    pool = POOL.model_copy(update={"is_draining": True, "min_runners": 1})

    assert needed(pool, PoolDemand(waiting=8)) == 0
    assert needed(pool, PoolDemand(waiting=8, executing=5)) == 2


def test_more_than_the_most_end_as_soon_as_they_are_idle() -> None:
    assert len(decide(POOL, waiting(100), idle("a", "b", "c", "d"), (), now=0).drain) == 1


# What always holds


def a_pool(least: int, more: int, slots: int, seconds: float) -> PoolSpec:
    return PoolSpec(name="cpu", min_runners=least, max_runners=least + more, slots_per_runner=slots, idle_seconds=seconds)


pools = some.builds(a_pool, some.integers(0, 3), some.integers(0, 5), some.integers(1, 4), some.sampled_from([0.0, 10.0, 60.0]))
courses = some.lists(some.tuples(some.integers(0, 40), some.floats(0.1, 30)), min_size=1, max_size=40)


def play(pool: PoolSpec, course: list[tuple[int, float]], found: int = 0) -> list[tuple[float, int, list[PoolRunner], Decision]]:
    """Time, demand, runners before the decision, decision. Runners start at once, are always idle, and end by the next look."""
    runners, needs, now, number = idle(*(f"found-{place}" for place in range(found))), Needs(), 0.0, 0
    played: list[tuple[float, int, list[PoolRunner], Decision]] = []
    for slots, seconds in course:
        now += seconds
        decision = decide(pool, waiting(slots), runners, needs, now)
        played.append((now, slots, runners, decision))
        needs = decision.needs
        runners = [runner for runner in runners if runner.name not in decision.drain]
        runners = runners + idle(*(f"new-{number + place}" for place in range(decision.start)))
        number += decision.start
    return played


@given(pools, courses, some.integers(0, 8))
def test_there_are_never_more_than_the_most_nor_after_a_decision_fewer_than_the_least(
    pool: PoolSpec, course: list[tuple[int, float]], found: int
) -> None:
    for _, _, runners, decision in play(pool, course, found):
        after = len(runners) - len(decision.drain) + decision.start
        assert decision.start == 0 or len(runners) + decision.start <= pool.max_runners
        assert pool.min_runners <= after <= max(pool.max_runners, found)
        assert set(decision.drain) <= {runner.name for runner in runners}


@given(pools, courses)
def test_demand_is_met_at_once_as_far_as_the_pool_may_grow(pool: PoolSpec, course: list[tuple[int, float]]) -> None:
    for _, slots, runners, decision in play(pool, course):
        after = len(runners) - len(decision.drain) + decision.start
        assert after >= min(pool.max_runners, math.ceil(slots / pool.slots_per_runner))


@given(pools, courses)
def test_no_runner_ends_that_was_needed_less_than_the_idle_time_ago(pool: PoolSpec, course: list[tuple[int, float]]) -> None:
    played = play(pool, course)
    for place, (now, _, runners, decision) in enumerate(played):
        if decision.drain:
            left = len(runners) - len(decision.drain)
            recent = [needed(pool, waiting(slots)) for at, slots, _, _ in played[: place + 1] if now - at < pool.idle_seconds]
            assert left >= max(recent, default=0)


@given(pools, courses)
def test_it_never_starts_and_ends_runners_at_the_same_time(pool: PoolSpec, course: list[tuple[int, float]]) -> None:
    assert all(not (decision.start and decision.drain) for _, _, _, decision in play(pool, course))


@given(pools, some.integers(0, 40), some.integers(0, 40))
def test_demand_that_swings_faster_than_the_idle_time_moves_no_runner(pool: PoolSpec, low: int, high: int) -> None:
    course = [((high if place % 2 else low), max(0.1, pool.idle_seconds / 3)) for place in range(20)]
    settled = play(pool, course)[2:]

    if pool.idle_seconds:
        assert all(not decision.start and not decision.drain for _, _, _, decision in settled)


@given(pools, courses)
def test_long_after_demand_has_ended_the_least_are_left(pool: PoolSpec, course: list[tuple[int, float]]) -> None:
    played = play(pool, [*course, (0, pool.idle_seconds + 1), (0, pool.idle_seconds + 1), (0, 1.0)])

    assert len(played[-1][2]) == pool.min_runners


@given(pools, courses)
def test_what_is_remembered_is_no_more_than_the_runners_a_pool_may_have(pool: PoolSpec, course: list[tuple[int, float]]) -> None:
    for _, _, _, decision in play(pool, course):
        assert len(decision.needs) <= pool.max_runners + 1
        assert all(before.runners > after.runners for before, after in pairwise(decision.needs))
