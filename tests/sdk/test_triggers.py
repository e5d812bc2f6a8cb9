"""Triggers as users declare them, and the plain specs that they become."""

import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.contracts.errors import GraphError
from penstock.contracts.triggers import AllSource, AnySource, CronSource, OnDataSource, OnEventSource, OnRunSource, TriggerSpec
from penstock.sdk import All, Cron, OnData, OnEvent, OnRun, pipeline
from penstock.sdk import Any as AnyOf
from penstock.sdk.drawing.traced import Traced
from penstock.sdk.drawing.trigger_specs import trigger_specs
from penstock.sdk.triggers import Batch, Concurrency, Debounce, Throttle, Trigger


def spec_of(trigger: Trigger) -> TriggerSpec:
    (spec,) = trigger_specs("sales.daily", [trigger])
    return spec


def test_triggers_without_a_name_are_called_after_their_pipeline() -> None:
    specs = trigger_specs("sales.daily", [Cron("0 3 * * *"), OnEvent("x", name="by-hand"), OnRun("Other.One")])
    assert [(spec.name, spec.pipeline) for spec in specs] == [
        ("sales-daily", "sales-daily"),
        ("by-hand", "sales-daily"),
        ("sales-daily-3", "sales-daily"),
    ]
    assert specs[2].on == OnRunSource(pipeline="other-one")


@pytest.mark.parametrize(
    ("trigger", "source"),
    [
        (OnEvent("day.*", where="event.data.n > 1", source="/lake"), OnEventSource(type="day.*", where="event.data.n > 1", source="/lake")),
        (Cron("0 3 * * *", tz="Europe/Paris", catch_up="all"), CronSource(schedule="0 3 * * *", tz="Europe/Paris", catch_up="all")),
        (
            OnData("s3://lake/*.csv", poll="5m", settle="0s", per="batch"),
            OnDataSource(uri="s3://lake/*.csv", poll_seconds=300, settle_seconds=0, per="batch"),
        ),
        (OnRun("prep", states=("failed", "cancelled")), OnRunSource(pipeline="prep", states=("failed", "cancelled"))),
        (
            All(OnEvent("a"), OnEvent("b"), key="event.data.day", within="6h", policy="latest"),
            AllSource(of=(OnEventSource(type="a"), OnEventSource(type="b")), key="event.data.day", within_seconds=21600, policy="latest"),
        ),
        (AnyOf(OnEvent("a"), Cron("@daily")), AnySource(of=(OnEventSource(type="a"), CronSource(schedule="@daily")))),
    ],
)
def test_each_kind_of_trigger_becomes_its_source(trigger: Trigger, source: object) -> None:
    assert spec_of(trigger).on == source


def test_short_forms_of_policies_are_the_same_as_the_long_ones() -> None:
    short = spec_of(OnEvent("x", debounce="5m", throttle="10/1h", concurrency="skip"))
    long = spec_of(
        OnEvent("x", debounce=Debounce(timedelta(minutes=5)), throttle=Throttle(10, "1h"), concurrency=Concurrency(policy="skip"))
    )
    assert short == long
    assert (long.debounce is not None and long.debounce.seconds, long.throttle is not None and long.throttle.seconds) == (300, 3600)
    assert spec_of(OnEvent("x", batch=7, concurrency=3)) == spec_of(OnEvent("x", batch=Batch(7), concurrency=Concurrency(3)))
    keyed = spec_of(All(OnEvent("a"), OnEvent("b"), batch=Batch(5, "1m", key="event.subject"), hop_limit=2, tags={"a": "b"}))
    assert keyed.batch is not None
    assert (keyed.batch.seconds, keyed.batch.key, keyed.hop_limit, keyed.tags) == (60, "event.subject", 2, {"a": "b"})


@pytest.mark.parametrize(
    ("trigger", "why"),
    [
        (OnEvent("x", debounce="soon"), r"triggers\[0\], OnEvent\('x'\): debounce is 'soon'; write a number with a unit"),
        (OnEvent("x", throttle="10 an hour"), "throttle is '10 an hour'; write how many in which time, such as '10/1h'"),
        (OnEvent("x", debounce="1m", batch=5), "either debounce or batch"),
        (OnEvent("x", name="Not A Name"), "name: String should match pattern"),
        (OnEvent(""), "on.event.type: String should have at least 1 character"),
        (All(OnEvent("a")), "on.all.of: Tuple should have at least 2 items"),
        (All(OnEvent("a"), AnyOf(OnEvent("b"))), r"Any\(...\) is inside of it; All and Any take OnEvent, Cron, OnData and OnRun"),
        (All(OnEvent("a"), OnEvent("b", parameters={"x": "1"})), r"parameters= is on OnEvent\('b'\) inside of it; put it on the whole"),
        (OnData("s3://x/*", poll="10ms"), "on.data.poll_seconds: Input should be greater than or equal to 1"),
    ],
)
def test_an_option_that_can_not_be_so_is_told_with_its_place(trigger: Trigger, why: str) -> None:
    with pytest.raises(GraphError, match=why):
        spec_of(trigger)


def test_two_triggers_of_one_name_are_refused() -> None:
    with pytest.raises(GraphError, match="two triggers are named 'nightly'"):
        trigger_specs("p", [Cron("@daily", name="nightly"), OnEvent("x", name="nightly")])


def test_a_parameter_that_is_not_there_is_found_where_the_pipeline_is_declared() -> None:
    with pytest.raises(GraphError, match=r"test_triggers.py:\d+: daily: OnEvent\('x'\) maps 'rows', .*; did you mean 'row'"):

        @pipeline(triggers=[OnEvent("x", parameters={"rows": "event.data.rows"})])
        def daily(row: int) -> int:
            return row

    with pytest.raises(GraphError, match=r"triggers= takes a list: triggers=\[OnEvent\('x'\)\]"):

        @pipeline(triggers=OnEvent("x"))  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]  # what people write
        def single() -> None: ...

    with pytest.raises(GraphError, match="triggers= takes OnEvent, Cron, OnData, OnRun, All and Any, not 'daily'"):

        @pipeline(triggers=["daily"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]  # what people write
        def other() -> None: ...


@pipeline(name="sales-daily", triggers=[Cron("0 3 * * *", tz="Europe/Paris"), OnEvent("day.closed", parameters={"row": "event.data.row"})])
def triggered(row: int = 1) -> int:
    return row


def test_triggers_travel_with_the_trace() -> None:
    found = Traced.from_bytes(triggered.trace().to_bytes())
    specs = [TriggerSpec.model_validate(plain) for plain in found.triggers]
    assert specs == list(trigger_specs("sales-daily", triggered.triggers))


def test_a_document_of_the_pipeline_keeps_its_triggers(tmp_path: Path) -> None:
    from penstock.sdk.drawing.yaml_form import from_yaml, to_yaml  # noqa: PLC0415 -- the only test that needs it

    document = tmp_path / "daily.yaml"
    document.write_text(to_yaml(triggered, tmp_path))
    assert from_yaml(document).triggers == triggered.trace().triggers
    # As people write it: YAML 1.1 takes the word for true.
    document.write_text(document.read_text().replace("'on':", "on:"))
    assert from_yaml(document).triggers == triggered.trace().triggers


@pytest.mark.parametrize(
    ("trigger", "why"),
    [
        ({"on": {"kind": "event"}}, r"daily.yaml: triggers\[0\].on.event.type: Field required"),
        ({"on": {"kind": "event", "type": "x"}, "paramters": {}}, r"triggers\[0\]: unknown key 'paramters'; did you mean 'parameters'"),
        ({"on": {"kind": "cron", "schedule": "@daily"}, "pipeline": "other"}, r"triggers\[0\].pipeline: it starts 'other'"),
        ({"on": {"kind": "cron", "schedule": "@daily"}, "parameters": {"rows": "1"}}, r"triggers\[0\].parameters: .* no parameter 'rows'"),
        ("daily", r"triggers\[0\]"),
    ],
)
def test_a_wrong_trigger_in_a_document_is_told_with_its_place(trigger: Any, why: str, tmp_path: Path) -> None:
    from penstock.sdk.drawing.yaml_form import from_yaml  # noqa: PLC0415 -- as above

    document = tmp_path / "daily.yaml"
    document.write_text(yaml.safe_dump({"name": "daily", "parameters": [{"name": "row"}], "nodes": [], "triggers": [trigger]}))
    with pytest.raises(GraphError, match=why):
        from_yaml(document)


def test_the_acceptance_pipelines_declare_their_triggers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent / "surface" / "pipelines"), *sys.path])
    day_closed, hourly = import_module("p03_event_retrain").daily, import_module("p10_drift").check

    (event,) = trigger_specs(day_closed.name, day_closed.triggers)
    (cron,) = trigger_specs(hourly.name, hourly.triggers)

    assert (event.name, event.dedupe, sorted(event.parameters)) == ("sales-daily", "event.data.day", ["day", "raw"])
    assert cron.on == CronSource(schedule="0 * * * *", tz="Europe/Paris", catch_up="latest")
