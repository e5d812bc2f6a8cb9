import re
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.messages import RunIdText
from penstock.engine.triggers.causes import cause_of_events, cause_of_key, looped, run_id_of
from tests.engine.triggers.trigger_parts import event, trigger

_occurrence = st.tuples(st.text(max_size=9), st.text(max_size=9), st.integers(0, 3))


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_the_run_of_a_cause_has_one_id(workspace: str, trigger_name: str, cause: str) -> None:
    run_id = run_id_of(workspace, trigger_name, cause)

    assert re.fullmatch("[0-9a-hjkmnp-tv-z]{26}", run_id)
    assert re.fullmatch(get_args(RunIdText)[1].metadata[0].pattern, run_id)
    assert run_id == run_id_of(workspace, trigger_name, cause)


def test_another_workspace_trigger_or_cause_makes_another_run() -> None:
    ids = {run_id_of(*names) for names in (("a", "b", "c"), ("ab", "", "c"), ("a", "bc", ""), ("b", "a", "c"))}

    assert len(ids) == 4


_shuffled = st.lists(_occurrence, unique=True, max_size=5).flatmap(lambda events: st.tuples(st.just(events), st.permutations(events)))


@given(_shuffled)
def test_the_cause_does_not_depend_on_the_order_of_its_events(
    orders: tuple[list[tuple[str, str, int]], list[tuple[str, str, int]]],
) -> None:
    assert cause_of_events(orders[0]) == cause_of_events(orders[1])


@given(_occurrence, _occurrence)
def test_other_events_are_another_cause(one: tuple[str, str, int], other: tuple[str, str, int]) -> None:
    assert (cause_of_events([one]) == cause_of_events([other])) == (one == other)


def test_a_key_is_one_cause_and_none_that_events_have() -> None:
    assert cause_of_key("a") == cause_of_key("a") != cause_of_key("b")
    assert cause_of_key("a") != cause_of_events([("a", "a", 0)])


def test_what_came_through_too_many_runs_starts_nothing() -> None:
    assert looped(trigger(), event(extensions={"penstockhops": 16})) is None
    assert looped(trigger(), event(extensions={"penstockhops": 17})) == "it came through 17 runs, 16 at most"
    assert looped(trigger(hop_limit=2), event(extensions={"penstockhops": 3})) == "it came through 3 runs, 2 at most"
    assert looped(trigger(hop_limit=0), event()) is None
    assert looped(trigger(hop_limit=0), event(extensions={"penstockhops": 1})) == "it came through 1 runs, 0 at most"


def test_a_trigger_among_its_own_causes_starts_nothing_unless_it_means_to() -> None:
    again = event(extensions={"penstockhops": 2})

    assert looped(trigger(), again, ["other"]) is None
    assert looped(trigger(), again, ["other", "new-data"]) == (
        "the trigger 'new-data' is among its own causes; `hop_limit` lets it go round that often"
    )
    assert looped(trigger(hop_limit=5), again, ["new-data"]) is None
