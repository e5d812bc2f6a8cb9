"""What holds of encoding and decoding for whatever value."""

import dataclasses
import datetime as dt
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.artifacts import ArtifactRef, Value, content_digest
from penstock.contracts.encoding import canonical
from penstock.sdk.values.codecs import decode, encode
from penstock.transport.blobs import BlobFolder


class Point(NamedTuple):
    x: float
    labels: list[str]


@dataclasses.dataclass
class Window:
    start: dt.date
    length: dt.timedelta
    inner: "Window | None" = None


TEXT = st.text(max_size=20)
FLOAT = st.floats(allow_nan=False)
POINT = st.builds(Point, FLOAT, st.lists(TEXT, max_size=3))
WINDOW = st.builds(Window, st.dates(), st.timedeltas(), st.builds(Window, st.dates(), st.timedeltas()))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOAT | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
TYPED: dict[Any, st.SearchStrategy[Any]] = {
    Any: PLAIN,
    int: st.integers(),
    float: FLOAT,
    str: TEXT,
    bool: st.booleans(),
    dt.date: st.dates(),
    dt.datetime: st.datetimes(timezones=st.none() | st.just(dt.UTC)),
    dt.timedelta: st.timedeltas(),
    int | str: st.integers() | TEXT,
    dt.date | str: st.dates() | TEXT | st.dates().map(str),
    float | None: FLOAT | st.none(),
    list[int]: st.lists(st.integers()),
    list[Point]: st.lists(POINT, max_size=3),
    dict[str, float]: st.dictionaries(TEXT, FLOAT),
    dict[int, list[str]]: st.dictionaries(st.integers(), st.lists(TEXT, max_size=2), max_size=3),
    set[str]: st.sets(TEXT),
    tuple[int, ...]: st.lists(st.integers()).map(tuple),
    tuple[int, str]: st.tuples(st.integers(), TEXT),
    Point: POINT,
    Window: WINDOW,
}


class Artifacts:
    def __init__(self, root: Path) -> None:
        self.blobs = BlobFolder(root)

    def encode(self, value: object, annotation: Any) -> Value:
        encoded = encode(value, annotation, self.blobs.staging)
        for staged in encoded.files:
            self.blobs.take(staged.path, staged.digest)
        return encoded.value

    def decode(self, value: Value, annotation: Any) -> Any:
        return decode(value, annotation, lambda ref: self.blobs.local(ref.digest))


@pytest.fixture(scope="module")
def artifacts() -> Iterator[Artifacts]:
    with tempfile.TemporaryDirectory() as folder:
        yield Artifacts(Path(folder))


@pytest.mark.parametrize("annotation", TYPED, ids=str)
@given(data=st.data())
def test_what_was_encoded_is_decoded(artifacts: Artifacts, annotation: Any, data: st.DataObject) -> None:
    value = data.draw(TYPED[annotation])

    back = artifacts.decode(artifacts.encode(value, annotation), annotation)

    assert back == value
    assert type(back) is type(value)


@given(PLAIN)
def test_equal_values_have_equal_digests(artifacts: Artifacts, value: Any) -> None:
    first = artifacts.encode(value, Any)
    second = artifacts.encode(artifacts.decode(first, Any), Any)

    assert content_digest(first) == content_digest(second)


@given(st.dictionaries(TEXT, st.integers()), st.randoms())
def test_the_order_of_keys_is_not_in_the_digest(artifacts: Artifacts, value: dict[str, int], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)

    assert artifacts.encode(dict(items), dict[str, int]) == artifacts.encode(value, dict[str, int])


@given(st.dictionaries(st.text("abé", max_size=3), st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
def test_inline_bytes_are_the_canonical_encoding(artifacts: Artifacts, value: dict[str, Any]) -> None:
    ref = artifacts.encode(value, Any)

    assert isinstance(ref, ArtifactRef)
    assert ref.inline_bytes() == canonical(value)


DTYPES = ["?", "i1", "<i8", ">i4", "u2", "f2", "<f4", "f8", "c8", "M8[s]", "m8[ns]", "S3", "U2", "i4,f8"]


@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3), st.sampled_from("CF"), st.randoms())
def test_an_array_comes_back_bit_by_bit(artifacts: Artifacts, dtype: str, shape: list[int], order: Any, random: Any) -> None:
    array = np.zeros(shape, dtype, order=order)
    if dtype not in ("S3", "U2", "?"):
        array.reshape(-1, order="A").view(np.uint8)[:] = random.randrange(256)

    back = artifacts.decode(artifacts.encode(array, np.ndarray), np.ndarray)

    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_an_array_of_objects_comes_back(artifacts: Artifacts) -> None:
    array = np.array([None, "a", {"b": 1}], dtype=object)

    back = artifacts.decode(artifacts.encode(array, np.ndarray), np.ndarray)

    assert back.tolist() == array.tolist()
