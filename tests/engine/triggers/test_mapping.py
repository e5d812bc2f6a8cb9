from typing import Any

import pytest

from penstock.contracts.artifacts import NULL, ArtifactRef, inline
from penstock.contracts.spec import ParameterSpec
from penstock.contracts.triggers import AllSource, AnySource, Concurrency, CronSource, OnDataSource, OnEventSource
from penstock.engine.triggers.mapping import VALUE_LIMIT, Fetch, Mapped, Refused, concurrency_key, mapped, told_per
from tests.engine.triggers.trigger_parts import DAY, FOLDER, MODEL, NAME, RAW, RAWS, ROWS, event, pipeline, trigger


def parameters(parameter: ParameterSpec, data: Any, expression: str = "event.data", **fields: Any) -> Any:
    result = mapped(trigger(parameters={parameter.name: expression}), pipeline(parameter), [event(data, **fields)])
    return result.parameters[parameter.name] if isinstance(result, Mapped) else result


def plain(parameter: ParameterSpec, data: Any, expression: str = "event.data", **fields: Any) -> Any:
    found = parameters(parameter, data, expression, **fields)
    return found.json_value() if isinstance(found, ArtifactRef) else found


def test_plain_values_travel_with_the_run() -> None:
    assert parameters(ROWS, 1200) == inline(1200)
    assert parameters(NAME, "north") == inline("north")
    assert parameters(ParameterSpec(name="any", type="Any"), {"a": [1, None]}) == inline({"a": [1, None]})


@pytest.mark.parametrize(
    ("parameter", "data", "said"),
    [
        (ROWS, "many", "parameter 'rows' wants int; \"many\" does not fit: 'many' is not of type 'integer'"),
        (ROWS, 1.5, "wants int"),
        (ROWS, True, "wants int"),
        (ROWS, None, "wants int"),
        (NAME, 7, "parameter 'name' wants text; 7 came"),
        (NAME, None, "wants text; null came"),
        (DAY, "yesterday", "wants date"),
        (DAY, 20260329, "wants date"),
        (RAW, 7, "parameter 'raw' wants the URI of a file, as s3://bucket/key; 7 came"),
        (RAW, "daily.csv", "wants the URI of a file"),
        (RAW, "/etc/passwd", "wants the URI of a file"),
        (RAW, None, "wants the URI of a file"),
        (RAWS, "s3://lake/a", "parameter 'raws' wants a list of URIs"),
        (RAWS, ["s3://lake/a", 7], "wants the URI of a file"),
        (FOLDER, {"uri": "s3://lake/a"}, "wants the URI of a directory"),
        (MODEL, 1, "is a Python object (Model), which no event can hold"),
        (ParameterSpec(name="rows", type="list[int]", schema={"type": "array", "items": {"type": "integer"}}), [1, "b"], "at rows[1]"),
        (ParameterSpec(name="any", type="Any"), "a" * VALUE_LIMIT, f"{VALUE_LIMIT} at most; let the event name a file"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(parameter: ParameterSpec, data: Any, said: str) -> None:
    result = parameters(parameter, data)

    assert isinstance(result, Refused)
    assert said in result.reason


def test_what_can_not_be_evaluated_is_refused() -> None:
    result = parameters(ROWS, {}, "event.data.rows")

    assert result == Refused("parameter 'rows' `event.data.rows`: there is no 'rows'; has(...) asks whether there is")


@pytest.mark.parametrize(
    ("time", "day"),
    [
        ("2026-03-29T00:30:00+01:00", "2026-03-29"),
        ("2026-03-28T23:30:00Z", "2026-03-28"),
        ("2026-03-28T23:30:00.123456Z", "2026-03-28"),
        ("2026-03-28", "2026-03-28"),
    ],
)
def test_a_date_is_that_of_a_time_where_it_was(time: str, day: str) -> None:
    assert plain(DAY, None, "event.time", time=time) == day


def test_a_time_stays_a_time_where_one_is_wanted() -> None:
    at = ParameterSpec(name="at", type="datetime", schema={"type": "string", "format": "date-time"})
    optional = ParameterSpec(name="day", type="date | None", schema={"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]})

    assert plain(at, None, "event.time", time="2026-03-29T00:30:00+01:00") == "2026-03-29T00:30:00+01:00"
    assert isinstance(plain(at, "noon"), Refused)
    assert plain(optional, "2026-03-29T00:30:00+01:00") == "2026-03-29"
    assert plain(optional, None) is None


def test_files_are_fetched() -> None:
    data = {"uri": "s3://lake/a.csv", "mark": "e1", "size": 3}

    assert parameters(RAW, data, "event.data.uri") == Fetch(uri="s3://lake/a.csv", kind="file", mark="e1")
    assert parameters(RAW, data, "event.data.uri + '.gz'") == Fetch(uri="s3://lake/a.csv.gz", kind="file")
    assert parameters(FOLDER, "s3://lake/daily/") == Fetch(uri="s3://lake/daily/", kind="directory")
    assert parameters(RAW, "file:///srv/drops/a.csv") == Fetch(uri="file:///srv/drops/a.csv", kind="file")
    assert parameters(RAW, "file:///srv/drops/a.csv") == Fetch(uri="file:///srv/drops/a.csv", kind="file")


def test_several_files_are_fetched_in_order() -> None:
    data = {"uris": ["s3://lake/b", "s3://lake/a"], "marks": {"s3://lake/a": "e1"}}

    found = parameters(RAWS, data, "event.data.uris")

    assert found == (Fetch(uri="s3://lake/b", kind="file"), Fetch(uri="s3://lake/a", kind="file", mark="e1"))


def test_a_file_that_may_be_left_out_can_be_null() -> None:
    assert parameters(ParameterSpec(name="raw", type="File | None", read="file"), None) == NULL
    assert parameters(ParameterSpec(name="name", type="str | None", read="text"), None) == NULL


def test_defaults_stay_where_nothing_is_mapped() -> None:
    rows = ROWS.model_copy(update={"required": False, "default": inline(5)})

    assert mapped(trigger(parameters={"name": "event.id"}), pipeline(rows, NAME), [event()]) == Mapped(
        {"rows": inline(5), "name": inline("1")}
    )


def test_a_default_that_is_no_value_is_left_to_the_pipeline() -> None:
    model = MODEL.model_copy(update={"required": False})

    assert mapped(trigger(parameters={}), pipeline(model), [event()]) == Mapped({})


def test_what_the_pipeline_of_today_lacks_or_needs_is_refused() -> None:
    assert mapped(trigger(parameters={"rows": "1"}), pipeline(NAME), [event()]) == Refused("retrain has no parameter 'rows'")
    assert mapped(trigger(), pipeline(NAME), [event()]) == Refused("retrain needs a value for name, which nothing is mapped to")


@pytest.mark.parametrize(
    ("parameter", "data", "expected"),
    [
        (RAW, {"uri": "s3://lake/a"}, Fetch(uri="s3://lake/a", kind="file")),
        (RAWS, {"uris": ["s3://lake/a"]}, (Fetch(uri="s3://lake/a", kind="file"),)),
        (FOLDER, {"uri": "s3://lake/"}, Fetch(uri="s3://lake/", kind="directory")),
    ],
)
def test_changed_data_goes_to_the_first_parameter_that_takes_files(parameter: ParameterSpec, data: Any, expected: Any) -> None:
    rows = ROWS.model_copy(update={"required": False, "default": inline(5)})
    for on in (OnDataSource(uri="s3://lake/*"), AnySource(of=(OnDataSource(uri="s3://lake/*"), OnDataSource(uri="s3://sea/*")))):
        result = mapped(
            trigger(on=on), pipeline(rows, parameter, RAW.model_copy(update={"required": False, "name": "more"})), [event(data)]
        )

        assert result == Mapped({"rows": inline(5), parameter.name: expected})


@pytest.mark.parametrize(("parameter", "per"), [(RAW, "object"), (RAWS, "batch"), (FOLDER, "prefix"), (ROWS, "object")])
def test_changes_are_told_as_the_parameter_takes_them_that_they_go_to(parameter: ParameterSpec, per: str) -> None:
    source = OnDataSource(uri="s3://lake/")

    assert told_per(source, trigger(on=source), pipeline(NAME, parameter)) == per
    assert told_per(source, trigger(on=source, parameters={parameter.name: "event.data.uri"}), pipeline(RAW, parameter)) == per
    joined = AllSource(of=(source, OnEventSource(type="*")))
    assert told_per(source, trigger(on=joined, parameters={parameter.name: "events[0].data.uri"}), pipeline(NAME, parameter)) == per
    assert told_per(source.model_copy(update={"per": "batch"}), trigger(on=source), pipeline(parameter)) == "batch"


def test_several_events_are_mapped_together() -> None:
    spec = trigger(parameters={"raws": "events.map(e, e.data)", "name": "event.id"})

    result = mapped(spec, pipeline(RAWS, NAME), [event("s3://lake/a"), event("s3://lake/b", id="2")])

    assert result == Mapped({"raws": (Fetch(uri="s3://lake/a", kind="file"), Fetch(uri="s3://lake/b", kind="file")), "name": inline("2")})


def test_the_concurrency_key_is_that_of_the_events_together() -> None:
    spec = trigger(concurrency=Concurrency(key="string(size(events)) + event.data.k"))

    assert concurrency_key(spec, [event({"k": "a"}), event({"k": "b"})]) == "2b"
    assert concurrency_key(trigger(), [event()]) == ""
    assert isinstance(concurrency_key(spec, [event({})]), Refused)


def test_a_schedule_gives_its_local_date() -> None:
    spec = trigger(on=CronSource(schedule="30 0 * * *", tz="Europe/Paris"), parameters={"day": "event.time"})

    assert mapped(spec, pipeline(DAY), [event(time="2026-07-01T00:30:00+02:00")]) == Mapped({"day": inline("2026-07-01")})
