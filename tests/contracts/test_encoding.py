"""The canonical encoding: one byte string for one meaning."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.encoding import canonical, digest_of
from penstock.contracts.errors import ContractError

NORMAL_TEXT = st.text().map(lambda text: unicodedata.normalize("NFC", text))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NORMAL_TEXT
DATA = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NORMAL_TEXT, inner, max_size=4), max_leaves=10)


@given(DATA)
def test_it_is_json_of_the_same_data(value: object) -> None:
    assert json.loads(canonical(value)) == value


@given(st.dictionaries(NORMAL_TEXT, SCALARS, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_count(value: dict[str, object], random: st.DataObject) -> None:
    items = list(value.items())
    random.shuffle(items)  # type: ignore[attr-defined]

    assert canonical(dict(items)) == canonical(value)


@given(st.text())
def test_text_counts_in_composed_form(text: str) -> None:
    composed, decomposed = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)

    assert canonical([composed, {composed: 1}]) == canonical([decomposed, {decomposed: 1}])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_exactly_in_their_shortest_form(number: float) -> None:
    encoded = canonical(number)

    assert json.loads(encoded) == number
    assert encoded == repr(number).encode()


@given(st.integers())
def test_integers_are_exact_whatever_their_size(number: int) -> None:
    assert canonical(number) == str(number).encode()


def test_values_that_differ_in_type_differ_in_encoding() -> None:
    values = [1, 1.0, True, "1", [1], None, "null", {"1": 1}, -0.0, 0.0, 0]

    assert len({canonical(value) for value in values}) == len(values)


def test_tuples_are_lists() -> None:
    assert canonical((1, (2,))) == canonical([1, [2]])


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (float("nan"), r"\$: nan"),
        ({"a": [1, float("inf")]}, r"\$\.a\[1\]: inf"),
        ({"a": {1: 2}}, r"\$\.a: the key 1 is not text"),
        ([{1, 2}], r"\$\[0\]: set"),
        (b"bytes", r"\$: bytes"),
        (object(), r"\$: object"),
    ],
)
def test_what_has_no_encoding_is_refused_with_its_place(value: object, place: str) -> None:
    with pytest.raises(ContractError, match=place):
        canonical(value)


def test_two_keys_that_are_one_text_are_refused() -> None:
    with pytest.raises(ContractError, match="two keys are the same text"):
        canonical({"\u00e9": 1, "e\u0301": 2})


def test_data_nested_too_deeply_is_refused() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]

    with pytest.raises(ContractError, match="no canonical encoding"):
        canonical(value)


def test_an_integer_of_absurd_length_is_refused() -> None:
    with pytest.raises(ContractError, match="no canonical encoding"):
        canonical(10**5000)


def test_a_known_document_keeps_its_digest_on_every_python() -> None:
    value = {"z": [1, 1.5, 1e22, 5e-324, -0.0, 2**70], "ä": "e\u0301 \u2028 😀", "": None, "t": True}

    assert canonical(value).decode() == ('{"":null,"t":true,"z":[1,1.5,1e+22,5e-324,-0.0,1180591620717411303424],"ä":"é \u2028 😀"}')
    assert digest_of(value) == "sha256:98f5271203cc722d59d88e0924cc1eb501027491683f4079c279541fbcca703e"
