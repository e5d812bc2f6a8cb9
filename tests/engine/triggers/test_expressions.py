import string
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.triggers.expressions import ExpressionError, compiled
from penstock.engine.triggers.scope import Scope
from tests.engine.triggers.trigger_parts import event

DATA = {
    "rows": 1200,
    "uri": "s3://lake/daily/2026-03-29.csv",
    "sizes": [3, 1, 2],
    "nothing": None,
    "files": {"a": 1, "b": 2},
    "é": "ä",
    "share": 0.5,
    "text": '"quoted" \\ (x.map(',
}


def value(text: str, data: Any = DATA, **fields: Any) -> Any:
    return compiled(text, "parameter 'x'").value(Scope((event(data, **fields),)))


def why(text: str, data: Any = DATA) -> str:
    with pytest.raises(ExpressionError) as caught:
        value(text, data)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event.data.rows", 1200),
        ("event.type", "data.published"),
        ("event.subject", None),
        ("event.data.rows > 1000 && event.data.share < 1.0", True),
        ("has(event.data.other) ? event.data.other : 'none'", "none"),
        ("event.data.uri.split('/')[4]", "2026-03-29.csv"),
        ("event.data.uri.substring(5)", "lake/daily/2026-03-29.csv"),
        ("event.data.uri.substring(5, 9)", "lake"),
        ("event.data.uri.replace('s3://', 'https://')", "https://lake/daily/2026-03-29.csv"),
        ("event.data.uri.indexOf('lake') + event.data.uri.lastIndexOf('/')", 20),
        ("['a', 'b'].join('-') + ' X '.trim().lowerAscii() + 'y'.upperAscii()", "a-bxY"),
        ("event.data.sizes.map(n, n * 2)", [6, 2, 4]),
        ("event.data.sizes.map(n, n > 1, n)", [3, 2]),
        ("event.data.sizes.filter(n, n > 1)", [3, 2]),
        ("event.data.sizes.filter(n, n > 1).map(n, n + event.data.rows)", [1203, 1202]),
        ("event.data.sizes.exists(n, n == 3) && event.data.sizes.all(n, n > 0) && event.data.sizes.exists_one(n, n == 1)", True),
        ("{'sizes': event.data.sizes.map(n, n), 'more': event.data.sizes.filter(n, n > 2)}", {"sizes": [3, 1, 2], "more": [3]}),
        ("event.data.files.map(k, k)", ["a", "b"]),
        ("size(events.map(e, e.id))", 1),
        ("event.data['é']", "ä"),
        ("timestamp('2026-03-29T00:30:00Z') + duration('1h')", "2026-03-29T01:30:00Z"),
        ("duration('90s')", "PT90S"),
        ("duration('-1.5s')", "-PT1.5S"),
        ("duration('100s')", "PT100S"),
        ("duration('0s')", "PT0S"),
        ("b'abc'", "YWJj"),
        ("type(event.data.rows) == int", True),
        ("1 // x.map(a, b.map(c, d))", 1),
        ("r'\\' + \"x.map(a, b.map(c, d))\"", "\\x.map(a, b.map(c, d))"),
    ],
)
def test_an_expression_comes_to_plain_json(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("event.data.colums", "there is no 'colums'; has(...) asks whether there is"),
        ("event.data.rows / 0", "it divides by zero"),
        ("event.data.sizes[9]", "out of bounds"),
        ("event.data.rows > 'a'", "values of one type"),
        ("event.data.nothing.more", "values of one type"),
        ("event.data.rows + 9223372036854775807", "overflow"),
        ("size(event.data.rows)", "`size` is unknown here, or got something that it does not take"),
        ("int(event.data.uri)", "int"),
        ("event.data.uri.matches('(')", "regex"),
        ("1.0 / 0.0", "inf, which JSON does not have"),
        ("{1: 2}", "a map's key is a number"),
        ("event.data.rows.map(n, n)", "it loops over is no list"),
        ("event.data.sizes.filter(n, n)", "neither true nor false"),
    ],
)
def test_what_can_not_be_evaluated_says_whose_it_is_and_what_is_wrong(text: str, said: str) -> None:
    assert why(text).startswith(f"parameter 'x' `{text}`: ")
    assert said in why(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at 1:1"),
        ("event.data.", "at 1:12"),
        ("evnt.data", "there is no `evnt`; it can use `event` and `events`"),
        (".event", "there is no `.event`"),
        ("event.data.uri.lower()", "there is no function `lower`"),
        ("event.data.sizes.map(n)", "there is no function `map` of that many arguments"),
        ("event.data.sizes.map(event, 1)", "can't call its items `event`"),
        ("event.data.sizes.map(int, 1)", "can't call its items `int`"),
        ("'" + "a" * 5000 + "'", "5002 characters, 4096 at most"),
        ("(" * 500 + "1" + ")" * 500, ""),
        ("event.data.sizes.map(a, a).map(b, b).map(c, c).map(d, d).map(e, e)", "5 loops, 4 at most"),
    ],
)
def test_what_is_no_expression_over_events_is_told_when_it_is_declared(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compiled(text, "where")

    assert said in str(caught.value)
    assert str(caught.value).startswith("where `")


def test_a_filter_sees_one_event_only() -> None:
    with pytest.raises(ExpressionError, match=r"there is no `events`; it can use `event`$"):
        compiled("size(events) > 1", "where", ("event",))


def test_the_keys_of_a_map_come_in_order() -> None:
    names = [f"part-{number:02}" for number in range(20)]

    assert value("event.data.map(name, name)", dict.fromkeys(reversed(names), 1)) == names


def test_whole_numbers_beyond_64_bits_stay_exact_as_text() -> None:
    assert value("event.data", 2**64 + 1) == "18446744073709551617"
    assert value("event.data", -(2**63)) == -(2**63)


def test_text_that_is_no_unicode_is_replaced() -> None:
    assert value("event.data.s + 'x'", {"s": "a\ud800"}) == "a?x"


def test_extensions_are_attributes_too() -> None:
    assert value("event.penstockhops", extensions={"penstockhops": 3}) == 3


def test_the_event_is_the_last_of_the_events() -> None:
    scope = Scope([event(n, id=str(n)) for n in (1, 2, 3)])

    assert compiled("[event.data] + events.map(e, e.data)", "parameter").value(scope) == [3, 1, 2, 3]


def test_a_filter_must_be_true_or_false() -> None:
    scope = Scope((event(DATA),))

    assert compiled("event.data.rows > 1", "where").holds(scope)
    with pytest.raises(ExpressionError, match="it is a number, not true or false; compare it with something"):
        compiled("event.data.rows", "where").holds(scope)


def test_a_constant_is_known_without_an_event() -> None:
    assert compiled("1 + 1", "parameter").constant() == (2,)
    assert compiled("null", "parameter").constant() == (None,)
    assert compiled("event.data", "parameter").constant() is None
    with pytest.raises(ExpressionError, match="divides by zero"):
        compiled("1 / 0", "parameter").constant()


@given(st.text(max_size=60) | st.text(alphabet="event.data[]{}()'\"\\,+-*/<>=&|!?:01 \nrb_x#", max_size=60))
def test_any_text_is_an_expression_or_an_expression_error(text: str) -> None:
    with suppress(ExpressionError):
        value(text)


@given(st.binary(max_size=100))
def test_random_bytes_are_an_expression_or_an_expression_error(data: bytes) -> None:
    with suppress(ExpressionError):
        value(data.decode("latin-1"))


_atoms = st.sampled_from(
    [
        "event",
        "event.data",
        "event.data.rows",
        "event.data.sizes",
        "events",
        "n",
        "1",
        "-1",
        "2.5",
        "'a'",
        'r"\\"',
        "null",
        "true",
        "[1, 2]",
        "{'k': 1}",
    ]
)
_wholes = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "/", "%", "==", "<", "in", "&&", "||"]), inner).map(" ".join),
        st.tuples(inner, st.sampled_from(["size", "string", "int", "type", "timestamp"])).map(lambda pair: f"{pair[1]}({pair[0]})"),
        st.tuples(inner, st.sampled_from(["map", "filter", "all", "exists"]), inner).map(
            lambda part: f"({part[0]}).{part[1]}(n, {part[2]})"
        ),
        st.tuples(inner, inner).map(lambda pair: f"{pair[0]}[{pair[1]}]"),
        st.tuples(inner, inner, inner).map(lambda part: f"({part[0]} ? {part[1]} : {part[2]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}).split({pair[1]})"),
    ),
    max_leaves=8,
)


@given(
    _wholes,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(string.printable),
        st.lists,
        max_leaves=5,
    ),
)
def test_any_expression_over_any_data_is_plain_json_or_an_expression_error(text: str, data: Any) -> None:
    with suppress(ExpressionError):
        assert _is_plain(value(text, {**DATA, "rows": data}))


def _is_plain(found: Any) -> bool:
    match found:
        case None | bool() | int() | float() | str():
            return True
        case [*items]:
            return all(map(_is_plain, items))
        case {**entries}:
            return all(isinstance(key, str) and _is_plain(inner) for key, inner in entries.items())
        case _:
            return False
