from collections.abc import Sequence
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.triggers import AllSource, OnEventSource
from penstock.engine.triggers.arrivals import Arrival
from penstock.engine.triggers.joins import Joined, joined, missing_members

SECOND = 1_000_000


def join(members: int = 2, **fields: object) -> AllSource:
    return AllSource.model_validate({"of": [OnEventSource(type=f"kind-{member}") for member in range(members)], **fields})


def arrival(number: int, member: int = 0, seconds: float = 0.0) -> Arrival:
    return Arrival(event_no=number, member=member, received_us=int(seconds * SECOND))


class Keys:
    """What whoever keeps held events does: by key, one arrival at a time or several, each event taken once."""

    def __init__(self, source: AllSource) -> None:
        self._source = source
        self._held: dict[str, list[Arrival]] = {}
        self._taken: set[Arrival] = set()
        self.groups: list[tuple[Arrival, ...]] = []
        self.superseded: list[Arrival] = []
        self.expired: list[Arrival] = []

    def come(self, key: str, arrivals: Sequence[Arrival], now_us: int = 0) -> None:
        new = [one for one in arrivals if one not in self._taken]
        self._taken.update(new)
        found = joined(self._source, self._held.get(key, []), new, now_us)
        self._held[key] = found.remaining
        self.groups += found.groups
        self.superseded += found.superseded
        self.expired += found.expired

    @property
    def held(self) -> list[Arrival]:
        return [one for some in self._held.values() for one in some]

    @property
    def all(self) -> list[Arrival]:
        return sorted([*self.held, *self.superseded, *self.expired, *(one for group in self.groups for one in group)])


@st.composite
def _orders(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Ten events of each of two or three sources as (source, which), in any order, some of them twice."""
    members = draw(st.integers(2, 3))
    order = draw(st.permutations([(member, which) for member in range(members) for which in range(10)]))
    again = draw(st.lists(st.tuples(st.integers(0, len(order) - 1), st.integers(0, len(order)))))
    for what, where in again:
        order.insert(where, order[what])
    return members, order


def _numbered(order: list[tuple[int, int]]) -> dict[tuple[int, int], Arrival]:
    """Events are numbered as they first come."""
    return {(member, which): arrival(number, member) for number, (member, which) in enumerate(dict.fromkeys(order))}


@given(_orders(), st.booleans())
def test_ten_and_ten_joined_by_key_are_ten_runs_in_every_order(orders: tuple[int, list[tuple[int, int]]], is_at_once: bool) -> None:
    members, order = orders
    numbered = _numbered(order)
    keys = Keys(join(members))
    if is_at_once:
        for which in range(10):
            keys.come(str(which), [numbered[one] for one in order if one[1] == which])
    else:
        for one in order:
            keys.come(str(one[1]), [numbered[one]])

    expected = {tuple(numbered[member, which] for member in range(members)) for which in range(10)}
    assert len(keys.groups) == 10
    assert set(keys.groups) == expected
    assert not keys.held
    assert not keys.superseded
    assert not keys.expired


@given(_orders())
def test_of_one_key_each_goes_with_the_one_that_came_as_the_same_of_its_source(orders: tuple[int, list[tuple[int, int]]]) -> None:
    members, order = orders
    numbered = _numbered(order)
    keys = Keys(join(members))

    for one in order:
        keys.come("", [numbered[one]])

    came = [sorted(one for key, one in numbered.items() if key[0] == member) for member in range(members)]
    assert sorted(keys.groups) == sorted(zip(*came, strict=True))
    assert not keys.held


def test_ten_then_ten_joined_by_key_are_ten_runs() -> None:
    keys = Keys(join(key="event.data.n"))

    for number in range(20):
        keys.come(str(number % 10), [arrival(number, number // 10)])

    assert [[one.event_no for one in group] for group in keys.groups] == [[n, n + 10] for n in range(10)]


@pytest.mark.parametrize("policy", ["each", "latest", "batch"])
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=20),
    st.sampled_from([None, 0, 5, 10]),
    st.integers(0, 40),
    st.data(),
)
def test_every_event_is_in_one_place_only(
    policy: str, came: list[tuple[int, int]], within: int | None, last: int, data: st.DataObject
) -> None:
    arrivals = [arrival(number, member, seconds) for number, (member, seconds) in enumerate(came)]
    keys = Keys(join(3, policy=policy, within_seconds=within))
    cuts = data.draw(st.lists(st.integers(0, len(arrivals)), max_size=4))
    borders = sorted([0, *cuts, len(arrivals)])

    for start, end in pairwise(borders):
        keys.come("", arrivals[start:end], now_us=max((one.received_us for one in arrivals[:end]), default=0))
    keys.come("", [], now_us=last * SECOND)

    assert keys.all == sorted(arrivals)
    for group in keys.groups:
        assert {one.member for one in group} == {0, 1, 2}
        if within is not None:
            assert max(one.received_us for one in group) - min(one.received_us for one in group) <= within * SECOND
    if policy != "latest":
        assert not keys.superseded
    if within is None:
        assert not keys.expired


@given(st.permutations([arrival(n, n % 2, seconds=n) for n in range(6)]))
def test_one_decision_over_all_that_came_is_as_many_decisions(order: list[Arrival]) -> None:
    for policy in ("each", "latest", "batch"):
        one_by_one, at_once = Keys(join(policy=policy)), Keys(join(policy=policy))
        for one in sorted(order):
            one_by_one.come("", [one])

        at_once.come("", order)

        assert (at_once.groups, at_once.held, at_once.superseded) == (one_by_one.groups, one_by_one.held, one_by_one.superseded)


def test_the_latest_of_each_go_together_and_older_ones_are_superseded() -> None:
    keys = Keys(join(policy="latest"))

    keys.come("", [arrival(1), arrival(2)])
    assert (keys.held, keys.superseded) == ([arrival(2)], [arrival(1)])
    keys.come("", [arrival(3)])
    keys.come("", [arrival(4, 1)])

    assert keys.groups == [(arrival(3), arrival(4, 1))]
    assert keys.superseded == [arrival(1), arrival(2)]
    assert not keys.held


def test_a_batch_is_all_that_is_there_once_every_source_has_one() -> None:
    keys = Keys(join(policy="batch"))

    keys.come("", [arrival(5, 1), arrival(1), arrival(2)])
    keys.come("", [arrival(6, 1)])

    assert keys.groups == [(arrival(1), arrival(2), arrival(5, 1))]
    assert keys.held == [arrival(6, 1)]


def test_what_comes_too_late_finds_what_it_waits_for_expired() -> None:
    for policy in ("each", "latest", "batch"):
        source = join(policy=policy, within_seconds=10)

        found = joined(source, [arrival(1)], [arrival(2, 1, seconds=10.5)], 11 * SECOND)

        assert found.expired == [arrival(1)]
        assert found.remaining == [arrival(2, 1, seconds=10.5)]
        assert found.groups == []
        assert found.until_us == int(20.5 * SECOND) + 1


def test_a_younger_one_takes_the_place_of_one_that_is_too_old() -> None:
    found = joined(join(within_seconds=10), [arrival(1), arrival(2, seconds=8)], [arrival(3, 1, seconds=15)], 15 * SECOND)

    assert found == Joined(groups=[(arrival(2, seconds=8), arrival(3, 1, seconds=15))], expired=[arrival(1)])


def test_events_that_came_in_time_are_joined_however_late_that_is_decided() -> None:
    found = joined(join(within_seconds=10), [arrival(1)], [arrival(2, 1, seconds=10)], 3600 * SECOND)

    assert found == Joined(groups=[(arrival(1), arrival(2, 1, seconds=10))])


def test_what_nothing_came_for_expires_when_its_time_is_over() -> None:
    source = join(within_seconds=10)
    held = [arrival(1), arrival(2, seconds=5)]

    assert joined(source, held, (), 10 * SECOND) == Joined(remaining=held, until_us=10 * SECOND + 1)
    assert joined(source, held, (), 10 * SECOND + 1) == Joined(expired=held[:1], remaining=held[1:], until_us=15 * SECOND + 1)
    assert joined(join(), held, (), 10**18) == Joined(remaining=held)


def test_one_event_may_be_of_two_sources() -> None:
    for one, two in permutations([Arrival(event_no=1, member=0), Arrival(event_no=1, member=1)]):
        assert joined(join(), [one], [two], 0).groups == [(Arrival(event_no=1, member=0), Arrival(event_no=1, member=1))]


def test_a_replayed_event_is_another_arrival() -> None:
    held = [Arrival(event_no=1)]

    assert joined(join(), held, [Arrival(event_no=1)], 0).remaining == held
    assert joined(join(), held, [Arrival(event_no=1, replay=1)], 0).remaining == [Arrival(event_no=1), Arrival(event_no=1, replay=1)]


def test_what_a_half_join_waits_for_is_known() -> None:
    assert missing_members(join(3), [arrival(1, 1)]) == [0, 2]
    assert missing_members(join(2), [arrival(1, 1), arrival(2)]) == []
