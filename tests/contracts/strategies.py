"""Hypothesis strategies for the models of the contracts, made from their fields' types."""

import types
import unicodedata
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from penstock.contracts.artifacts import ArtifactRef, ListValue, RecordValue, SelectedValue, TemplateValue, Value

INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False)
TEXTS = st.text(max_size=20).map(lambda text: unicodedata.normalize("NFC", text))
PLAIN = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
"""Data as JSON has it, with integers that msgpack can carry."""

REFS = st.builds(
    ArtifactRef, uri=TEXTS, digest=TEXTS, size=st.integers(0, 2**63 - 1), kind=st.sampled_from(["blob", "directory", "list"]), suffix=TEXTS
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    REFS,
    lambda inner: (
        st.builds(ListValue, list=st.lists(inner, max_size=3).map(tuple))
        | st.builds(RecordValue, record=st.dictionaries(TEXTS, inner, max_size=3))
        | st.builds(SelectedValue, select=st.lists(TEXTS | INTEGERS, max_size=3).map(tuple), of=inner)
        | st.builds(TemplateValue, template=st.lists(TEXTS | inner, max_size=3).map(tuple))
    ),
    max_leaves=4,
)

_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: INTEGERS,
    float: FLOATS,
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    Any: PLAIN,
    None: st.none(),
    types.NoneType: st.none(),
}


def of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    if annotation == Value:
        return VALUES
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    arguments = get_args(annotation)
    match get_origin(annotation):
        case origin if origin is Annotated:
            return _held_to(arguments[0], arguments[1:])
        case origin if origin is Literal:
            return st.sampled_from(arguments)
        case origin if origin is Union or origin is types.UnionType:
            return st.one_of(*map(of, arguments))
        case origin if origin is tuple:
            return st.lists(of(arguments[0]), max_size=3).map(tuple)
        case origin if origin is dict:
            return st.dictionaries(of(arguments[0]), of(arguments[1]), max_size=3)
        case _:
            return instances(annotation) if issubclass(annotation, BaseModel) else st.sampled_from(annotation)


def instances(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Instances of a model with anything in every field."""
    return st.builds(model, **{name: _held_to(field.annotation, field.metadata) for name, field in model.model_fields.items()})


def _held_to(annotation: Any, rules: Iterable[Any]) -> st.SearchStrategy[Any]:
    """Values of a type that keep the rules that stand beside it."""
    known: dict[str, Any] = {}
    rules = list(rules)
    for rule in rules:
        for part in rule.metadata if isinstance(rule, FieldInfo) else [rule]:
            known |= {name: getattr(part, name) for name in ("ge", "le", "pattern", "min_length") if getattr(part, name, None) is not None}
    if "pattern" in known:
        text: st.SearchStrategy[str] = st.from_regex(str(known["pattern"]), fullmatch=True)
        return text.map(lambda found: unicodedata.normalize("NFC", found)).filter(lambda found: len(found) < 60)
    if annotation is int:
        return st.integers(known.get("ge", -(2**63)), known.get("le", 2**63 - 1))
    if annotation is float:
        return st.floats(known.get("ge"), known.get("le"), allow_nan=False)
    values = of(annotation)
    for rule in rules:
        if isinstance(rule, AfterValidator):
            values = values.filter(partial(_passes, rule))
    return values.filter(lambda found: len(found) >= known["min_length"]) if "min_length" in known else values


def _passes(rule: AfterValidator, found: Any) -> bool:
    check: Any = rule.func
    try:
        check(found)
    except ValueError:
        return False
    return True
