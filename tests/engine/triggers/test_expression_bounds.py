"""Loops: none in another one, wherever it hides; bounded in cost; item by item they come to what the library makes of them."""

from typing import Any

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.triggers.expressions import ExpressionError, compiled
from penstock.engine.triggers.scope import Scope
from penstock.engine.triggers.syntax import Nested, last_loop, loops_in
from penstock.engine.triggers.text_functions import FUNCTIONS
from tests.engine.triggers.trigger_parts import event

_FILLERS = st.sampled_from(["", " ", "\n", "\t", "// a ) comment (\n", " //'\n", '//"\n'])
_LOOPS = st.sampled_from(["map", "filter", "all", "exists", "exists_one"])
_TEXTS = st.sampled_from(
    ["''", '""', "'a)b'", '"(.map("', r"'\''", r'"\""', r"r'\'", 'r"\\"', "'''a'b'''", '"""a"b"""', 'b"("', "bR'\\'", r"'\\'"]
)


@given(
    _LOOPS, _LOOPS, _FILLERS, _FILLERS, _TEXTS, _TEXTS, st.sampled_from(["[{}]", "({})", "size([{}])", "{{'k': {}}}", "(true ? {} : [])"])
)
def test_a_loop_in_a_loop_is_found_wherever_it_hides(
    outer: str, inner: str, filler: str, other: str, text: str, more: str, around: str
) -> None:
    hidden = around.format(f"[1]{filler}.{other}{inner}{filler}(y,{other}y == {more})")
    expression = f"[{text}, {more}].{filler}{outer}{other}(x, [{text}] == [{hidden}])"

    cel.compile(expression)
    with pytest.raises(Nested):
        loops_in(expression)


@given(_LOOPS, _LOOPS, _FILLERS, _TEXTS, _TEXTS)
def test_loops_one_after_the_other_are_not_nested(one: str, two: str, filler: str, text: str, more: str) -> None:
    expression = f"[[{text}].{filler}{one}(x, x == {more}) == {more}, [{more}].{two}{filler}(y, y == {text})]"

    assert [(loop.kind, loop.variable) for loop in loops_in(expression)] == [(one, "x"), (two, "y")]


def test_what_only_looks_like_a_loop_is_none() -> None:
    assert loops_in("event.map + event.filter.x + all(1) + 'a.map(x, y)'") == []


@pytest.mark.parametrize("text", ["(", ")", "[)", "{]", "a.map(x, (1)"])
def test_brackets_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="clos"):
        loops_in(text)


@pytest.mark.parametrize(
    ("text", "over", "parts"),
    [
        ("event.data.map(x, x + 1)", "event.data", (" x + 1",)),
        ("event.data['a'].filter( x , f(x, [1, 2]) ) ", "event.data['a']", (" f(x, [1, 2]) ",)),
        ("[1, 2].map(x, x > 1, x)", "[1, 2]", (" x > 1", " x")),
        ("(a + b).map(x, x)", "(a + b)", (" x",)),
        ("a.filter(x, x).map(y, y)", "a.filter(x, x)", (" y",)),
    ],
)
def test_an_expression_that_is_a_loop_as_a_whole_is_taken_apart(text: str, over: str, parts: tuple[str, ...]) -> None:
    loop = last_loop(text)

    assert loop is not None
    assert (loop.over, loop.parts) == (over, parts)


@pytest.mark.parametrize(
    "text",
    [
        "a + b.map(x, x)",
        "1 in b.map(x, x)",
        "!a.filter(x, x)",
        "-a.map(x, x)",
        "c ? a : b.map(x, x)",
        "a.all(x, x)",
        "size(a.map(x, x))",
        "a",
    ],
)
def test_an_expression_that_is_more_than_a_loop_is_left_whole(text: str) -> None:
    assert last_loop(text) is None


_BODIES = st.sampled_from(
    ["x", "x + 1", "x > 2", "[x]", "{'k': x}", "string(x) + event.data.t", "x in event.data.a", "x.y", "1 / x", "x % 2 == 0"]
)


@given(st.lists(st.integers(-3, 9) | st.just("a"), max_size=6), st.sampled_from(["map", "filter"]), _BODIES, _BODIES, st.booleans())
def test_item_by_item_it_comes_to_what_the_library_makes_of_it(items: list[Any], kind: str, body: str, more: str, is_second: bool) -> None:
    text = f"event.data.a.{kind}(x, {body})" + (f".map(x, {more})" if is_second else "")
    one = event({"a": items, "t": "t"})
    try:
        expected = cel.compile(text).execute(cel.Context({"event": one.variables}, FUNCTIONS))
    except Exception:  # noqa: BLE001 - whatever it is, ours is an ExpressionError
        with pytest.raises(ExpressionError):
            compiled(text, "parameter").value(Scope((one,)))
    else:
        assert compiled(text, "parameter").value(Scope((one,))) == expected


def test_a_loop_over_a_large_batch_is_quick_enough() -> None:
    events = [event({"uri": f"s3://lake/{n}", "rows": n}, id=str(n)) for n in range(10_000)]

    found = compiled("events.filter(e, e.data.rows % 2 == 0).map(e, e.data.uri)", "parameter").value(Scope(events))

    assert found == [f"s3://lake/{n}" for n in range(0, 10_000, 2)]


@pytest.mark.parametrize(
    "text",
    [
        "event.data.a.exists(x, x in event.data.a)",
        "event.data.a.map(x, event.data.a + event.data.a)",
        "size(event.data.a.map(x, x)) > 1",
        "{'a': event.data.a.filter(x, x == 1)}",
        "size(event.data.t.split(',').map(x, event.data.t))",
        "event.data.s.map(x, x + x + x + x).map(x, " + " + ".join(["x"] * 300) + ").map(x, " + " + ".join(["x"] * 300) + ")",
        "size(event.data.s.map(x, " + " + ".join(["x"] * 300) + ").map(x, " + " + ".join(["x"] * 300) + "))",
        "event.data.s.map(x, " + " + ".join(["event.data.t"] * 200) + ")",
    ],
)
def test_loops_that_would_take_too_long_are_refused(text: str) -> None:
    scope = Scope((event({"a": list(range(9000)), "t": "a," * 20_000, "s": ["a" * 1000] * 100}),))

    with pytest.raises(ExpressionError, match="too much"):
        compiled(text, "where").value(scope)


def test_a_loop_over_too_many_items_is_refused() -> None:
    scope = Scope((event([1] * 10_001),))

    for text in ("event.data.map(x, x)", "event.data.all(x, x == 1)"):
        with pytest.raises(ExpressionError, match="10001 items is too much, 10000 at most"):
            compiled(text, "where").value(scope)


@pytest.mark.parametrize(
    "text",
    [
        "event.data.t.replace('a', event.data.t)",
        "event.data.l.join(event.data.t)",
        "event.data.t.replace('', 'a')",
        "event.data.t.split('')",
        "event.data.t.substring(-1)",
        "event.data.t.substring(3, 2)",
        "event.data.l.join(1)",
        "event.data.l.trim()",
        "event.data.t.indexOf(1)",
        "event.data.l.lowerAscii()",
    ],
)
def test_functions_on_text_come_to_null_where_they_would_make_too_much_or_can_not(text: str) -> None:
    assert compiled(text, "parameter").value(Scope((event({"t": "a" * 10_000, "l": ["x"] * 1000}),))) is None


def test_a_text_is_split_into_a_bounded_number_of_parts() -> None:
    found = compiled("event.data.split(',')", "parameter").value(Scope((event("a," * 5000),)))

    assert len(found) == 1001
