"""Python values to artifacts and back."""

import dataclasses
import datetime as dt
import enum
import math
import subprocess
import sys
import uuid
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import pytest
from pydantic import BaseModel
from typing_extensions import override

from penstock.contracts.artifacts import (
    INLINE_LIMIT,
    ArtifactRef,
    ListValue,
    RecordValue,
    SelectedValue,
    TemplateValue,
    inline,
)
from penstock.contracts.errors import InvalidInput
from penstock.sdk.types import File
from penstock.sdk.values.codecs import encode
from penstock.sdk.values.formats import PICKLE
from tests.sdk.codec_bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Config(NamedTuple):
    rate: float
    depths: tuple[int, ...] = ()


class Trial(NamedTuple):
    config: Config
    score: float | None


@dataclasses.dataclass(frozen=True)
class Window:
    start: dt.date
    width: dt.timedelta


@dataclasses.dataclass
class Picky:
    amount: int
    closed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.closed:
            raise RuntimeError("no more of them")


class Settings(BaseModel):
    name: str
    window: dict[str, int] = {}


class Model:
    """A class that only pickle can hold."""

    def __init__(self, weights: list[float]) -> None:
        self.weights = weights

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.weights == self.weights

    __hash__ = None  # type: ignore[assignment]  # it is mutable


class HasWeights(Protocol):
    weights: list[float]


JSON_VALUES: list[tuple[object, Any]] = [
    (5, int),
    (10**400, int),
    (0.1, float),
    (True, bool),
    ("naïve", str),
    ("e\N{COMBINING ACUTE ACCENT}", str),
    (None, None),
    (None, int | None),
    ({"b": [1, None], "a": {"x": 0.5}}, Any),
    ([1, "a", None], Any),
    ({1: "a", 2: "b"}, dict[int, str]),
    ((1, "a"), tuple[int, str]),
    ((1, 2, 3), tuple[int, ...]),
    ({3, 1, 2}, set[int]),
    (dt.date(2026, 11, 20), dt.date),
    (dt.datetime(2026, 11, 20, 12, 30, 0, 5, tzinfo=dt.UTC), dt.datetime),
    (dt.timedelta(minutes=90), dt.timedelta),
    (Decimal("1.10"), Decimal),
    (uuid.UUID(int=7), uuid.UUID),
    (Colour.RED, Colour),
    (Level.HIGH, Level),
    ("red", Literal["red", "blue"]),
    (Config(0.1, (3, 5)), Config),
    (Trial(Config(0.1), None), Trial),
    (Window(dt.date(2026, 1, 1), dt.timedelta(days=7)), Window),
    (Settings(name="a", window={"x": 1}), Settings),
    ([Config(0.1), Config(0.2)], list[Config]),
    ({"a": [Window(dt.date(2026, 1, 1), dt.timedelta(1))]}, dict[str, list[Window]]),
]


@pytest.mark.parametrize(("value", "annotation"), JSON_VALUES, ids=lambda part: repr(part)[:40])
def test_a_small_json_value_travels_inline_and_comes_back(bench: Bench, value: object, annotation: Any) -> None:
    encoded = encode(value, annotation, bench.blobs.staging)

    assert isinstance(encoded.value, ArtifactRef)
    assert encoded.value.is_inline
    assert encoded.files == []
    back = bench.decode(encoded.value, annotation)
    assert back == value
    assert type(back) is type(value)


OTHER_VALUES: list[tuple[object, Any]] = [
    (math.inf, float),
    ({"loss": -math.inf}, dict[str, float]),
    (b"\x00\xff", bytes),
    ("lone \ud800 surrogate", str),
    ((1, 2), Any),
    (dt.date(2026, 11, 20), Any),
    (Config(0.1), Any),
    ({1: "a"}, Any),
    ({1: "a", "1": "b"}, dict[int | str, str]),
    (Model([0.1]), Model),
    (Model([0.1]), Any),
    (Model([0.1]), HasWeights),
    ({"best": Model([0.1]), "score": 0.5}, dict[str, Any]),
    ((Model([0.1]), 0.5), tuple[Model, float]),
    ([Model([0.1]), Model([0.2])], list[Model]),
    ([Model([0.1])], Any),
    (Model([0.1]), Model | None),
]


@pytest.mark.parametrize(("value", "annotation"), OTHER_VALUES, ids=lambda part: repr(part)[:40])
def test_what_json_would_change_comes_back_all_the_same(bench: Bench, value: object, annotation: Any) -> None:
    back = bench.there_and_back(value, annotation)

    assert back == value
    assert type(back) is type(value)


def test_a_number_that_is_not_one_comes_back(bench: Bench) -> None:
    assert math.isnan(bench.there_and_back(math.nan, float))


def test_an_object_that_contains_itself_comes_back(bench: Bench) -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop

    back = bench.there_and_back(loop)

    assert back["self"] is back


def test_a_value_of_another_type_than_declared_is_stored_all_the_same(bench: Bench) -> None:
    assert bench.decode(bench.encode("text", float)) == "text"


def test_the_order_of_keys_does_not_change_the_digest(bench: Bench) -> None:
    assert bench.encode({"a": 1, "b": 2}, dict[str, int]) == bench.encode({"b": 2, "a": 1}, dict[str, int])


def test_one_and_one_point_zero_are_the_same_float(bench: Bench) -> None:
    assert bench.encode(1, float) == bench.encode(1.0, float)


@pytest.mark.parametrize(
    ("scalar", "annotation"), [(np.float32(0.5), float), (np.int64(5), int), (np.bool_(True), bool), (np.float64(1), Any)]
)
def test_scalars_of_numpy_travel_as_plain_numbers(bench: Bench, scalar: Any, annotation: Any) -> None:
    value = bench.encode(scalar, annotation)

    assert isinstance(value, ArtifactRef)
    assert value.json_value() == scalar.item()


def test_scalars_of_numpy_inside_a_dict_are_plain_numbers(bench: Bench) -> None:
    assert bench.encode({"n": np.int64(5)}, dict[str, int]) == inline({"n": 5})


def test_fields_of_a_named_tuple_are_stored_by_name(bench: Bench) -> None:
    assert bench.encode(Trial(Config(0.5), 1.0), Trial) == inline({"config": {"rate": 0.5, "depths": []}, "score": 1.0})


def test_a_large_json_value_is_a_blob_of_json(bench: Bench) -> None:
    value = bench.encode("x" * INLINE_LIMIT, str)

    assert isinstance(value, ArtifactRef)
    assert (value.is_inline, value.media_type, value.kind) == (False, "application/json", "blob")
    assert bench.decode(value, str) == "x" * INLINE_LIMIT


@pytest.mark.parametrize("annotation", [list[int], Sequence[int], list[Any], list, Sequence[int] | None])
def test_a_long_list_is_a_list_artifact_of_its_items(bench: Bench, annotation: Any) -> None:
    numbers = list(range(INLINE_LIMIT))

    value = bench.encode(numbers, annotation)

    assert isinstance(value, ArtifactRef)
    assert value.kind == "list"
    assert list(bench.decode(value, annotation)) == numbers


def test_a_long_list_nested_in_something_else_is_json(bench: Bench) -> None:
    value = bench.encode({"all": list(range(INLINE_LIMIT))}, dict[str, list[int]])

    assert isinstance(value, ArtifactRef)
    assert (value.kind, value.media_type) == ("blob", "application/json")


def test_a_sequence_reads_an_item_when_it_is_asked_for(bench: Bench) -> None:
    value = bench.encode([Model([float(i)]) for i in range(5)], list[Model])
    models = bench.decode(value, Sequence[Model])
    bench.read.clear()

    assert models[3] == Model([3.0])
    assert len(bench.read) == 1
    assert len(models) == 5
    assert models[-1] == Model([4.0])
    assert [model.weights for model in models[1:5:2]] == [[1.0], [3.0]]
    assert models.index(Model([2.0])) == 2
    with pytest.raises(IndexError):
        models[5]


def test_a_list_is_read_at_once(bench: Bench) -> None:
    value = bench.encode([Model([0.1]), Model([0.2])], list[Model])

    assert bench.decode(value, list[Model]) == [Model([0.1]), Model([0.2])]


@pytest.mark.parametrize("annotation", [Iterable[int], Collection[int], Sequence[int]])
def test_an_inline_list_can_be_gone_through_twice(bench: Bench, annotation: Any) -> None:
    numbers = bench.there_and_back([1, 2], annotation)

    assert [*numbers, *numbers] == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (list[int], [1, 2]),
        (tuple[int, ...], (1, 2)),
        (tuple[int, int], (1, 2)),
        (set[int], {1, 2}),
        (Any, [1, 2]),
        (list[int] | None, [1, 2]),
    ],
)
def test_gathered_values_become_the_declared_collection(bench: Bench, annotation: Any, expected: object) -> None:
    gathered = ListValue(list=(inline(1), inline(2)))

    assert bench.decode(gathered, annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [(Config, Config(0.5, (3,))), (dict[str, Any], {"rate": 0.5, "depths": [3]}), (Any, {"rate": 0.5, "depths": [3]})],
)
def test_a_record_becomes_the_declared_type(bench: Bench, annotation: Any, expected: object) -> None:
    record = RecordValue(record={"rate": inline(0.5), "depths": inline([3])})

    assert bench.decode(record, annotation) == expected


def test_a_selected_part_is_read_without_the_rest(bench: Bench) -> None:
    whole = bench.encode({"models": [Model([0.1]), Model([0.2])], "rest": Model([9.0])}, dict[str, list[Model] | Model])
    bench.read.clear()

    part = bench.decode(SelectedValue(select=("models", 1), of=whole), Model)

    assert part == Model([0.2])


@pytest.mark.parametrize(
    ("value", "annotation", "path", "part_type", "expected"),
    [
        (Trial(Config(0.5, (3, 5)), 1.0), Trial, ("config", "depths", 1), int, 5),
        ({"a": {"b": [1, 2]}}, Any, ("a", "b", -1), int, 2),
        ([dt.date(2026, 1, 1)], list[dt.date], (0,), dt.date, dt.date(2026, 1, 1)),
        (Model([0.1, 0.2]), Model, ("weights", 1), float, 0.2),
        ({"items": 5}, Any, ("items",), int, 5),
    ],
)
def test_a_part_is_selected_by_fields_keys_and_indexes(
    bench: Bench, value: object, annotation: Any, path: tuple[str | int, ...], part_type: Any, expected: object
) -> None:
    part = bench.decode(SelectedValue(select=path, of=bench.encode(value, annotation)), part_type)

    assert part == expected


@pytest.mark.parametrize("path", [("absent",), (7,), ("a", "b", "c")])
def test_a_part_that_is_not_there_is_named(bench: Bench, path: tuple[str | int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"data: there is no (item )?'?(absent|7|b)"):
        bench.decode(SelectedValue(select=path, of=bench.encode({"a": 1})), Any)


def test_a_template_is_text_with_values_in_it(bench: Bench) -> None:
    template = TemplateValue(template=("rate=", inline(0.5), ", day ", inline("2026-11-20")))

    assert bench.decode(template, str) == "rate=0.5, day 2026-11-20"


MISFITS: list[tuple[object, Any, str]] = [
    ("many", int, r"data takes int, but got str 'many'"),
    (None, float, r"data takes float, but got NoneType None"),
    ({"rate": "fast"}, Config, r"data takes Config, .*rate"),
    (Model([0.1]), int, r"data takes int, but got Model"),
    (Model([0.1]), File | None, r"data takes File \| None, but got Model"),
    (5, Model, r"data takes Model, but got int 5"),
    (np.arange(3), list[int], r"data takes list\[int\], but got ndarray"),
]


@pytest.mark.parametrize(("value", "annotation", "told"), MISFITS)
def test_a_value_that_does_not_fit_says_what_was_wanted_and_what_came(bench: Bench, value: object, annotation: Any, told: str) -> None:
    encoded = bench.encode(value)

    with pytest.raises(InvalidInput, match=told):
        bench.decode(encoded, annotation)


def test_an_encoding_that_fails_leaves_nothing_behind(bench: Bench) -> None:
    with pytest.raises(InvalidInput, match="function"):
        bench.encode([Model([0.1]), lambda: None], list[Any])

    assert list(bench.blobs.staging.iterdir()) == []


@pytest.mark.parametrize("items", [(i for i in range(3)), range(3)], ids=["generator", "range"])
def test_what_is_gone_through_once_is_stored_as_a_list(bench: Bench, items: Iterable[int]) -> None:
    assert bench.there_and_back(items, Iterable[int]) == [0, 1, 2]


def test_a_type_that_can_not_be_made_again_from_json_is_pickled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Picky(1)
    monkeypatch.setattr(Picky, "closed", True)

    value = bench.encode(made, Picky)

    assert isinstance(value, ArtifactRef)
    assert value.media_type == PICKLE
    assert bench.decode(value, Picky) == made


def test_what_can_not_be_stored_says_why(bench: Bench) -> None:
    with pytest.raises(InvalidInput, match="a value of type function can't be stored"):
        bench.encode(lambda: None)
    assert list(bench.blobs.staging.iterdir()) == []


def test_no_library_is_imported_for_a_value_that_does_not_need_it() -> None:
    script = (
        "import sys; from pathlib import Path; from penstock.sdk.values.codecs import decode, encode\n"
        "value = encode({'a': [1, 2.5]}, dict[str, list[float]], Path('/nowhere')).value\n"
        "decode(value, dict[str, list[float]], None); encode(5, int, Path('/nowhere'))\n"
        "print({'numpy', 'pandas', 'pyarrow', 'polars', 'matplotlib'} & set(sys.modules))"
    )

    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert told.strip() == "set()"
