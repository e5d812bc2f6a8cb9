from typing import Any

import pytest

from penstock.contracts.artifacts import inline
from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import ParameterSpec
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
from penstock.engine.triggers.checking import check_trigger
from penstock.engine.triggers.expressions import ExpressionError
from tests.engine.triggers.trigger_parts import DAY, FOLDER, MODEL, NAME, RAW, RAWS, ROWS, pipeline, trigger

ANY_EVENT = OnEventSource(type="*")
OPTIONAL = ROWS.model_copy(update={"required": False, "default": inline(1)})


def why(*parameters: ParameterSpec, **fields: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        check_trigger(trigger(**fields), pipeline(*parameters))
    said = str(caught.value)
    assert said.startswith("trigger 'new-data': ")
    return said.removeprefix("trigger 'new-data': ")


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ({"on": OnEventSource(type="data.*", where="event.data.rows > 1")}, ()),
        ({"on": CronSource(schedule="0 3 * * *", tz="Europe/Paris"), "parameters": {"day": "event.time"}}, (DAY, OPTIONAL)),
        ({"on": OnDataSource(uri="s3://lake/daily/*.csv")}, (OPTIONAL, RAW)),
        ({"on": OnDataSource(uri="s3://lake/daily/*.csv")}, (RAWS,)),
        ({"on": OnDataSource(uri="file:///data/daily/")}, (FOLDER,)),
        (
            {"on": OnRunSource(pipeline="clean", where="event.data.pipeline == 'clean'"), "parameters": {"name": "event.data.run_id"}},
            (NAME,),
        ),
        ({"parameters": {"rows": "42", "name": "'north'", "raw": "'s3://lake/a'", "raws": "['s3://lake/a']"}}, (ROWS, NAME, RAW, RAWS)),
        ({"on": AnySource(of=(ANY_EVENT, OnDataSource(uri="s3://lake/*"))), "parameters": {"raw": "event.data.uri"}}, (RAW,)),
        ({"on": AllSource(of=(ANY_EVENT, ANY_EVENT), key="event.data.day"), "parameters": {"rows": "size(events)"}}, (ROWS,)),
        ({"on": ANY_EVENT}, (MODEL.model_copy(update={"required": False}),)),
    ],
)
def test_a_trigger_that_can_work_passes(fields: dict[str, Any], parameters: tuple[ParameterSpec, ...]) -> None:
    check_trigger(trigger(**fields), pipeline(*parameters))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"on": OnEventSource(type="*", where="event.data.")}, "where `event.data.`: at 1:12"),
        ({"on": OnEventSource(type="*", where="size(events) > 1")}, "there is no `events`; it can use `event`"),
        ({"on": OnEventSource(type="*", where="1 + 1")}, "where `1 + 1`: it is 2, not true or false"),
        ({"on": OnRunSource(pipeline="clean", where="even.data")}, "where `even.data`: there is no `even`"),
        ({"on": OnRunSource(pipeline="clean", states=())}, "end in none of the states"),
        ({"dedupe": "evnt.id"}, "dedupe key `evnt.id`: there is no `evnt`"),
        ({"debounce": Debounce(seconds=1, key="(")}, "debounce key `(`: at "),
        ({"batch": BatchPolicy(key="nope(event)")}, "batch key `nope(event)`: there is no function `nope`"),
        ({"concurrency": Concurrency(key="1 / 0")}, "concurrency key `1 / 0`: it divides by zero"),
        ({"on": AllSource(of=(ANY_EVENT, ANY_EVENT), key="key")}, "join key `key`: there is no `key`"),
        ({"on": AllSource(of=(ANY_EVENT, ANY_EVENT)), "batch": BatchPolicy()}, "a join decides itself which events make a run together"),
        ({"on": AllSource(of=(ANY_EVENT, ANY_EVENT)), "debounce": Debounce(seconds=1)}, "leave debounce out"),
        ({"on": AnySource(of=(ANY_EVENT, CronSource(schedule="nope")))}, "needs five fields"),
        ({"on": OnEventSource(type="data.*.new")}, "the type 'data.*.new' has `*` inside; it stands for the rest, at the end"),
        ({"on": OnEventSource(type="*", source="*/lake")}, "the source '*/lake' has `*` inside"),
        ({"on": CronSource(schedule="0 3 * *")}, "the schedule '0 3 * *' needs five fields"),
        ({"on": CronSource(schedule="0 25 * * *")}, "can't be followed: Bad hour"),
        ({"on": CronSource(schedule="0 0 30 2 *")}, "the schedule '0 0 30 2 *' can't be followed"),
        (
            {"on": CronSource(schedule="0 3 * * *", tz="Europe/Pariss")},
            "there is no time zone 'Europe/Pariss'; write it as Europe/Paris, or UTC",
        ),
        ({"on": CronSource(schedule="0 3 * * *", tz="../etc/passwd")}, "there is no time zone"),
    ],
)
def test_what_can_not_work_is_told_with_its_place(fields: dict[str, Any], said: str) -> None:
    assert said in why(**fields)


@pytest.mark.parametrize(
    ("parameters", "mapping", "said"),
    [
        ((ROWS, NAME), {"row": "1", "name": "'a'"}, "retrain has no parameter 'row'; did you mean 'rows'?"),
        ((ROWS, NAME), {"zzz": "1"}, "retrain has no parameter 'zzz'; it has rows, name"),
        ((), {"zzz": "1"}, "retrain has no parameter 'zzz'; it has none"),
        ((ROWS, NAME, RAW), {"rows": "1"}, 'retrain needs a value for name (str), raw (File); map one to it, as parameters={"name": '),
        ((MODEL,), {"model": "event.data"}, "parameter 'model' is a Python object (Model), which no event can hold; give it a default"),
        ((ROWS,), {"rows": "'many'"}, "parameter 'rows' wants int; \"many\" does not fit"),
        ((NAME,), {"name": "7"}, "parameter 'name' wants text; 7 came"),
        ((DAY,), {"day": "'soon'"}, "parameter 'day' wants date"),
        ((RAW,), {"raw": "7"}, "parameter 'raw' wants the URI of a file; 7 is none"),
        ((RAWS,), {"raws": "'s3://lake/a'"}, "parameter 'raws' wants a list of URIs"),
        ((ROWS,), {"rows": "event.data.rows +"}, "parameter 'rows' `event.data.rows +`: at 1:"),
    ],
)
def test_parameters_are_checked_against_the_pipeline(parameters: tuple[ParameterSpec, ...], mapping: dict[str, str], said: str) -> None:
    assert said in why(*parameters, parameters=mapping)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("lake/daily/*.csv", "has no scheme"),
        ("s3://lake/*/a.csv", "has a wildcard in a folder; only its last part may have one"),
        ("s3://lake[1]/a.csv", "has a wildcard in a folder"),
        ("s3://*", "names no folder"),
        ("s3://lake", "names no folder"),
        ("s3://lake/../other/*.csv", "has `..` in it"),
        ("s3://lake/..", "has `..` in it"),
        ("s3://key:secret@lake/daily/*.csv", "holds credentials; declare them for the datastore"),
    ],
)
def test_data_is_named_by_a_folder_and_a_pattern_in_it(uri: str, said: str) -> None:
    found = why(RAW, on=OnDataSource(uri=uri))

    assert said in found
    assert "secret" not in found


def test_a_folder_as_a_whole_has_no_pattern() -> None:
    assert "as a whole can't have wildcards" in why(FOLDER, on=OnDataSource(uri="s3://lake/daily/*.csv"))


def test_changes_that_are_told_otherwise_than_they_are_mapped_are_found() -> None:
    one, several = OnDataSource(uri="s3://lake/*", per="object"), OnDataSource(uri="s3://lake/*", per="batch")

    assert "one by one; for event.data.uris in 'raws' say per='batch'" in why(RAWS, on=one)
    assert "come as a batch, which has event.data.uris" in why(RAW, on=several)


def test_a_trigger_that_maps_nothing_needs_somewhere_for_its_data() -> None:
    assert "retrain needs a value for rows (int)" in why(ROWS, on=OnDataSource(uri="s3://lake/*"))


def test_an_expression_keeps_its_class_of_error() -> None:
    with pytest.raises(ExpressionError):
        check_trigger(trigger(dedupe="("), pipeline())
