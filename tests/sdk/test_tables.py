"""Tables to Parquet and back: nothing is lost, and the same table gives the same bytes."""

import datetime as dt
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.errors import InvalidInput
from penstock.sdk.values.codecs import decode, encode
from penstock.sdk.values.formats import PARQUET, PICKLE
from penstock.transport.blobs import BlobFolder

pa: Any = import_module("pyarrow")  # it ships no types
DAYS = pd.date_range("2026-01-01", periods=3, freq="D")

IN_PARQUET = {
    "numbers": pd.DataFrame({"i": [1, 2, 3], "f": [0.5, np.nan, -0.0], "b": [True, False, True], "s": np.array([1, 2, 3], "int8")}),
    "text": pd.DataFrame({"t": ["a", None, "ç"]}),
    "nullable": pd.DataFrame({"n": pd.array([1, None, 3], dtype="Int64"), "t": pd.array(["a", None, "c"], dtype="string")}),
    "arrow": pd.DataFrame({"n": pd.array([1, None], dtype="int64[pyarrow]")}),
    "categories": pd.DataFrame({"c": pd.Categorical(["b", "a", None], categories=["b", "a"], ordered=True)}),
    "times": pd.DataFrame({"t": DAYS.tz_localize("Europe/Paris"), "d": DAYS - DAYS[0]}),
    "objects": pd.DataFrame({"d": [dt.date(2026, 1, 1), None], "e": [Decimal("1.5"), None]}, dtype=object),
    "index": pd.DataFrame({"x": [1, 2]}, index=pd.Index(["a", "b"], name="key")),
    "range": pd.DataFrame({"x": [1, 2]}, index=pd.RangeIndex(10, 14, 2)),
    "filtered": pd.DataFrame({"x": range(6)}).query("x % 2 == 0"),
    "levels": pd.DataFrame({"x": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "n"])),
    "daily": pd.DataFrame({"x": [1, 2, 3]}, index=DAYS),
    "numbered": pd.DataFrame(np.arange(4.0).reshape(2, 2)),
    "pivoted": pd.DataFrame([[1.0, 2.0]], columns=pd.Index(["a", "b"], name="kind")),
    "empty": pd.DataFrame(),
    "no rows": pd.DataFrame({"x": np.array([], "float32")}),
}
OTHERWISE = {
    "two rows of labels": pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])),
    "mixed": pd.DataFrame({"m": [1, "a", None]}),
    "integers as objects": pd.DataFrame({"m": [1, True]}, dtype=object),
    "lists": pd.DataFrame({"m": [[1], [2, 3]]}),
    "none and nan": pd.DataFrame({"m": ["a", None, np.nan]}, dtype=object),
    "same labels": pd.DataFrame([[1, 2]], columns=["x", "x"]),
    "mixed labels": pd.DataFrame([[1, 2]], columns=["x", 1]),
    "complex": pd.DataFrame({"c": [1j]}),
    "seconds": pd.DataFrame({"t": np.array([1, 2], "M8[s]")}),
    "sparse": pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 1])}),
}


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "artifacts")


def stored(value: object, annotation: Any, blobs: BlobFolder) -> ArtifactRef:
    encoded = encode(value, annotation, blobs.staging)
    for staged in encoded.files:
        blobs.take(staged.path, staged.digest)
    assert isinstance(encoded.value, ArtifactRef)
    return encoded.value


def loaded(ref: ArtifactRef, annotation: Any, blobs: BlobFolder) -> Any:
    return decode(ref, annotation, lambda ref: blobs.local(ref.digest))


@pytest.mark.parametrize("frame", IN_PARQUET.values(), ids=IN_PARQUET.keys())
def test_a_frame_comes_back_from_parquet_as_it_was(blobs: BlobFolder, frame: pd.DataFrame) -> None:
    ref = stored(frame, pd.DataFrame, blobs)
    back = loaded(ref, pd.DataFrame, blobs)

    assert (ref.media_type, ref.suffix) == (PARQUET, ".parquet")
    pd.testing.assert_frame_equal(back, frame, check_column_type=True, check_freq=True)


@pytest.mark.parametrize("frame", OTHERWISE.values(), ids=OTHERWISE.keys())
def test_a_frame_that_parquet_would_change_is_stored_otherwise(blobs: BlobFolder, frame: pd.DataFrame) -> None:
    ref = stored(frame, pd.DataFrame, blobs)
    back = loaded(ref, pd.DataFrame, blobs)

    assert ref.media_type == PICKLE
    pd.testing.assert_frame_equal(back, frame)


@pytest.mark.parametrize("frame", IN_PARQUET.values(), ids=IN_PARQUET.keys())
def test_the_same_frame_gives_the_same_bytes(blobs: BlobFolder, frame: pd.DataFrame) -> None:
    again = loaded(stored(frame, pd.DataFrame, blobs), pd.DataFrame, blobs)

    assert stored(again, pd.DataFrame, blobs) == stored(frame, pd.DataFrame, blobs)
    assert stored(frame.copy(deep=True), pd.DataFrame, blobs) == stored(frame, pd.DataFrame, blobs)


def test_another_value_gives_other_bytes(blobs: BlobFolder) -> None:
    one, other = pd.DataFrame({"x": [1.0, 2.0]}), pd.DataFrame({"x": [1.0, 2.5]})

    assert stored(one, pd.DataFrame, blobs).digest != stored(other, pd.DataFrame, blobs).digest


@pytest.mark.parametrize("series", [pd.Series([1, 2], name="n"), pd.Series([0.5], index=["a"]), pd.Series(DAYS, index=DAYS)])
def test_a_series_comes_back_with_its_name_and_index(blobs: BlobFolder, series: "pd.Series[Any]") -> None:
    ref = stored(series, pd.Series, blobs)

    assert ref.media_type == PARQUET
    pd.testing.assert_series_equal(loaded(ref, pd.Series, blobs), series)


def test_an_arrow_table_comes_back_however_it_was_cut(blobs: BlobFolder) -> None:
    whole = pa.table({"x": [1, 2, 3], "t": ["a", None, "c"]})
    cut = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])

    assert loaded(stored(whole, pa.Table, blobs), pa.Table, blobs).equals(whole)
    assert stored(cut, pa.Table, blobs) == stored(whole, pa.Table, blobs)


def test_a_table_where_a_number_was_wanted_is_told(blobs: BlobFolder) -> None:
    ref = stored(pd.DataFrame({"x": [1]}), pd.DataFrame, blobs)

    with pytest.raises(InvalidInput, match=r"value takes float, but got (a )?DataFrame"):
        loaded(ref, float, blobs)


def test_frames_in_a_dict_are_each_in_parquet(blobs: BlobFolder, tmp_path: Path) -> None:
    frames = {"train": pd.DataFrame({"x": [1]}), "test": pd.DataFrame({"x": [2]})}

    encoded = encode(frames, dict[str, pd.DataFrame], blobs.staging)

    assert sorted(ref.media_type for ref in encoded.value.record.values()) == [PARQUET, PARQUET]  # type: ignore[union-attr]


def test_a_polars_frame_comes_back(blobs: BlobFolder) -> None:
    polars: Any = pytest.importorskip("polars")
    frame = polars.DataFrame({"n": [1, None], "t": ["a", None], "l": [[1], [2, 3]]})

    ref = stored(frame, polars.DataFrame, blobs)
    back = loaded(ref, polars.DataFrame, blobs)

    assert ref.media_type == PARQUET
    assert back.equals(frame)
    assert back.schema == frame.schema
    assert stored(back, polars.DataFrame, blobs) == ref
