"""When an attempt may be taken for lost, and when never."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.presence import Presence

PATIENCE, GAP = 30.0, 5.0


def steady(presence: Presence[str], start: int, end: int) -> None:
    """A tick each second, and each comes back."""
    for second in range(start, end + 1):
        presence.tick_returned(float(second))


def test_nobody_is_lost_before_a_tick_has_come_back() -> None:
    presence = Presence[str](PATIENCE, GAP)
    presence.heard(["a"], 0.0)

    assert presence.lost(["a"]) == []


def test_an_attempt_is_lost_when_ticks_came_back_all_the_time_and_no_heartbeat_named_it() -> None:
    presence = Presence[str](PATIENCE, GAP)
    presence.heard(["a", "b"], 0.0)
    steady(presence, 0, 20)
    presence.heard(["b"], 20.0)
    steady(presence, 21, 30)

    assert presence.lost(["a", "b"]) == ["a"]


def test_an_attempt_that_was_never_heard_of_has_the_whole_patience() -> None:
    presence = Presence[str](PATIENCE, GAP)
    steady(presence, 0, 100)

    assert presence.lost(["new"]) == []
    steady(presence, 101, 129)
    assert presence.lost(["new"]) == []
    steady(presence, 130, 130)
    assert presence.lost(["new"]) == ["new"]


def test_whoever_was_deaf_begins_to_count_anew() -> None:
    presence = Presence[str](PATIENCE, GAP)
    presence.heard(["a"], 0.0)
    steady(presence, 0, 10)

    presence.tick_returned(200.0)

    assert presence.lost(["a"]) == []
    steady(presence, 201, 229)
    assert presence.lost(["a"]) == []
    steady(presence, 230, 230)
    assert presence.lost(["a"]) == ["a"]


def test_an_attempt_that_is_closed_is_forgotten() -> None:
    presence = Presence[str](PATIENCE, GAP)
    presence.heard(["a"], 0.0)
    steady(presence, 0, 100)
    presence.lost([])

    assert presence.lost(["a"]) == []


@given(
    heartbeats=st.lists(st.floats(0, 300), max_size=20),
    ticks=st.lists(st.floats(0, 300), max_size=60),
)
def test_nobody_is_lost_within_the_patience_of_a_heartbeat(heartbeats: list[float], ticks: list[float]) -> None:
    presence = Presence[str](PATIENCE, GAP)
    events = sorted([(at, "heartbeat") for at in heartbeats] + [(at, "tick") for at in ticks])
    heard = None

    for at, kind in events:
        if kind == "heartbeat":
            presence.heard(["a"], at)
            heard = at
        else:
            presence.tick_returned(at)
        is_lost = presence.lost(["a"]) == ["a"]
        assert not (is_lost and heard is not None and at - heard < PATIENCE)


@given(ticks=st.lists(st.floats(0, 300), max_size=100))
def test_nobody_is_lost_while_ticks_were_missing(ticks: list[float]) -> None:
    presence = Presence[str](PATIENCE, GAP)
    presence.heard(["a"], 0.0)
    returned: list[float] = []

    for at in sorted(ticks):
        presence.tick_returned(at)
        returned.append(at)
        if presence.lost(["a"]):
            recent = [tick for tick in returned if tick >= at - PATIENCE]
            gaps = [after - before for before, after in pairwise(recent)]
            assert max(gaps) <= GAP
