from typing import Any

import pytest

from penstock.contracts.artifacts import inline
from penstock.contracts.event_views import Tried
from penstock.contracts.spec import ParameterSpec
from penstock.contracts.triggers import AllSource, BatchPolicy, CronSource, Debounce, OnDataSource, OnEventSource, OnRunSource
from penstock.engine.triggers.trying import tried
from tests.engine.triggers.trigger_parts import FOLDER, NAME, RAW, RAWS, ROWS, event, pipeline, trigger

WANTED = OnEventSource(type="data.published", where="event.data.rows > 10")


def found(data: Any, *parameters: ParameterSpec, **fields: Any) -> Tried:
    return tried(trigger(**{"on": WANTED, **fields}), pipeline(*parameters), event(data))


def test_an_event_that_fits_would_start_a_run_with_these_parameters() -> None:
    rows = ROWS.model_copy(update={"required": False, "default": inline(5)})
    data = {"rows": 11, "uri": "s3://lake/a", "uris": ["s3://lake/b"]}
    parameters = {"name": "event.id", "raw": "event.data.uri", "raws": "event.data.uris"}

    result = found(data, NAME, RAW, RAWS, rows, parameters=parameters, dedupe="event.data.uri")

    assert result == Tried(
        outcome="started",
        parameters={
            "name": "1",
            "raw": {"fetch": "s3://lake/a", "as": "file"},
            "raws": [{"fetch": "s3://lake/b", "as": "file"}],
            "rows": 5,
        },
        keys={"dedupe": "s3://lake/a"},
    )


def test_an_event_that_does_not_fit_says_why() -> None:
    assert found({"rows": 9}) == Tried(outcome="not_matched", reason="where: event.data.rows > 10 does not hold")
    assert found({"rows": 11}, NAME, parameters={"name": "event.data.rows"}) == Tried(
        outcome="refused", reason="parameter 'name' wants text; 11 came: string(...) makes text of it"
    )


@pytest.mark.parametrize(
    ("on", "wanted"),
    [
        (OnEventSource(type="other", source="/sea"), "other from /sea"),
        (CronSource(schedule="0 3 * * *"), "times of 0 3 * * *"),
        (OnDataSource(uri="s3://lake/*"), "objects at s3://lake/*"),
        (OnRunSource(pipeline="clean", states=("succeeded", "failed")), "runs of clean that succeeded or failed"),
        (AllSource(of=(OnEventSource(type="a"), OnEventSource(type="b"))), "a or b"),
    ],
)
def test_an_event_of_another_kind_says_what_the_trigger_waits_for(on: Any, wanted: str) -> None:
    assert found(None, on=on).reason == f"it is of type data.published from /lake; the trigger waits for {wanted}"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"debounce": Debounce(seconds=5)}, "until nothing else came for 5 seconds"),
        ({"batch": BatchPolicy(size=3)}, "for a batch of 3"),
        ({"on": AllSource(of=(WANTED, OnEventSource(type="b")))}, "for the others of the join"),
    ],
)
def test_an_event_that_is_held_would_wait(fields: dict[str, Any], said: str) -> None:
    result = found({"rows": 11}, NAME, parameters={"name": "event.id"}, **fields)

    assert (result.outcome, result.parameters) == ("waiting", {"name": "1"})
    assert said in result.reason


def test_a_join_may_need_the_other_events_for_its_parameters() -> None:
    on = AllSource(of=(WANTED, OnEventSource(type="b")))

    result = found({"rows": 11}, NAME, parameters={"name": "events[1].id"}, on=on)

    assert result.outcome == "waiting"
    assert "with this event alone: parameter 'name' `events[1].id`: index out of bounds" in result.reason


def test_what_goes_in_a_circle_would_start_nothing() -> None:
    again = event({"rows": 11}, extensions={"penstockhops": 99})

    assert tried(trigger(on=WANTED), pipeline(), again).outcome == "looped"


def test_a_change_of_data_is_tried_for_the_workspace_that_it_is_in() -> None:
    told = event({"uri": "s3://lake/", "member": 0}, type="penstock.data.prefix.changed", source="/penstock/team/triggers/new-data")
    spec = trigger(on=OnDataSource(uri="s3://lake/"))

    assert tried(spec, pipeline(FOLDER), told, "team").parameters == {"folder": {"fetch": "s3://lake/", "as": "directory"}}
    assert tried(spec, pipeline(FOLDER), told).outcome == "not_matched"
