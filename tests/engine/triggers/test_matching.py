from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.triggers import (
    AllSource,
    AnySource,
    BatchPolicy,
    Concurrency,
    CronSource,
    Debounce,
    OnDataSource,
    OnEventSource,
    OnRunSource,
)
from penstock.engine.triggers.matching import KEY_LIMIT, Keys, Matched, NotMatched, key_text, match, members_for, trigger_source
from tests.engine.triggers.trigger_parts import event, trigger

OWN = trigger_source("default", "new-data")


@pytest.mark.parametrize(
    ("pattern", "source", "is_taken"),
    [
        ("data.published", None, True),
        ("data.*", None, True),
        ("*", None, True),
        ("data", None, False),
        ("data.published.more", None, False),
        ("data.published", "/lake", True),
        ("data.published", "/la*", True),
        ("data.published", "/sea", False),
    ],
)
def test_events_are_taken_by_type_and_source(pattern: str, source: str | None, is_taken: bool) -> None:
    spec = trigger(on=OnEventSource(type=pattern, source=source))

    assert members_for(spec, event(), OWN) == ([0] if is_taken else [])


def test_an_event_may_be_taken_by_several_sources() -> None:
    spec = trigger(on=AnySource(of=(OnEventSource(type="data.*"), OnEventSource(type="other"), OnEventSource(type="*"))))

    assert members_for(spec, event(), OWN) == [0, 2]


@pytest.mark.parametrize("kind", ["penstock.schedule.due", "penstock.data.settled"])
def test_times_and_changes_are_for_the_trigger_and_the_source_that_they_were_made_for(kind: str) -> None:
    due = CronSource(schedule="0 3 * * *") if kind == "penstock.schedule.due" else OnDataSource(uri="s3://lake/*.csv")
    spec = trigger(on=AllSource(of=(OnEventSource(type="*"), due)))
    told = {"type": kind, "source": OWN}

    assert members_for(spec, event({"member": 1}, **told), OWN) == [1]
    assert members_for(spec, event({"member": 0}, **told), OWN) == []
    assert members_for(spec, event(None, **told), OWN) == []
    assert members_for(spec, event({"member": 1}, type=kind, source=OWN + "x"), OWN) == []
    assert members_for(spec, event({"member": 1}, type="other", source=OWN), OWN) == []


def test_who_asks_for_another_triggers_times_gets_them() -> None:
    told = event({"member": 0}, type="penstock.schedule.due", source=trigger_source("default", "other"))

    assert members_for(trigger(on=OnEventSource(type="penstock.*")), told, OWN) == []
    assert members_for(trigger(on=OnEventSource(type="penstock.*", source="/penstock/default/triggers/other")), told, OWN) == [0]


def test_ends_of_runs_are_taken_by_pipeline_state_and_workspace() -> None:
    spec = trigger(on=OnRunSource(pipeline="clean", states=("succeeded", "failed")))
    told: dict[str, Any] = {"type": "penstock.run.failed", "source": "/penstock/default"}

    assert members_for(spec, event({"pipeline": "clean"}, **told), OWN) == [0]
    assert members_for(spec, event({"pipeline": "other"}, **told), OWN) == []
    assert members_for(spec, event({"pipeline": "clean"}, **told | {"source": "/penstock/elsewhere"}), OWN) == []
    assert members_for(spec, event({"pipeline": "clean"}, **told | {"type": "penstock.run.cancelled"}), OWN) == []


def test_what_does_not_hold_does_not_match_and_says_so() -> None:
    spec = trigger(on=OnEventSource(type="*", where="event.data.rows > 1000"))

    assert match(spec, 0, event({"rows": 1001})) == Matched(Keys())
    assert match(spec, 0, event({"rows": 1000})) == NotMatched("where: event.data.rows > 1000 does not hold")


@pytest.mark.parametrize(
    ("data", "said"), [({}, "there is no 'rows'"), ({"rows": "many"}, "values of one type"), (None, "values of one type"), ([], "")]
)
def test_a_filter_that_can_not_be_evaluated_does_not_match_and_says_what_is_missing(data: Any, said: str) -> None:
    result = match(trigger(on=OnEventSource(type="*", where="event.data.rows > 1000")), 0, event(data))

    assert isinstance(result, NotMatched)
    assert result.reason.startswith("where `event.data.rows > 1000`: ")
    assert said in result.reason


def test_keys_are_made_of_the_event() -> None:
    spec = trigger(
        on=AllSource(of=(OnEventSource(type="*"), OnEventSource(type="*")), key="event.data.day"),
        dedupe="event.data.uri",
        batch=BatchPolicy(key="event.data.n"),
        concurrency=Concurrency(key="[event.data.n, event.data.day]"),
    )

    result = match(spec, 1, event({"day": "2026-03-29", "uri": "s3://a", "n": 7}))

    assert result == Matched(Keys(dedupe="s3://a", batch="7", join="2026-03-29", concurrency='[7,"2026-03-29"]'))
    assert isinstance(result, Matched)
    assert result.keys.known == {"dedupe": "s3://a", "batch": "7", "join": "2026-03-29", "concurrency": '[7,"2026-03-29"]'}


def test_without_a_key_all_events_are_of_one() -> None:
    spec = trigger(debounce=Debounce(seconds=5), concurrency=Concurrency())

    assert match(spec, 0, event()) == Matched(Keys(debounce="", concurrency=""))


@pytest.mark.parametrize("policy", [{"dedupe": "event.data.k"}, {"debounce": Debounce(seconds=1, key="event.data.k")}])
@pytest.mark.parametrize(("data", "said"), [({}, "there is no 'k'"), ({"k": None}, "it is null")])
def test_a_key_that_is_not_there_does_not_match(policy: dict[str, Any], data: Any, said: str) -> None:
    result = match(trigger(**policy), 0, event(data))

    assert isinstance(result, NotMatched)
    assert said in result.reason


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(_plain)
def test_a_key_is_short_and_can_be_shown_and_kept(value: Any) -> None:
    key = key_text(value)

    assert len(key) <= KEY_LIMIT
    assert key.isprintable()
    assert key == key_text(value)


def test_long_keys_stay_apart() -> None:
    assert key_text("a" * 80) == "a" * 80
    assert key_text("a" * 81) != key_text("a" * 82)
    assert key_text("a" * 81).startswith("sha256:")
    assert key_text(key_text("a" * 81)) != key_text("a" * 81)
    assert key_text("a\x00") != key_text("a\x01")
    assert key_text({"b": 1, "a": 2}) == '{"a":2,"b":1}'
