"""Hypothesis strategies for the models of the contracts, made from their fields' types."""

import types
import unicodedata
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel

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

REFS = st.builds(ArtifactRef, uri=TEXTS, digest=TEXTS, size=INTEGERS, kind=st.sampled_from(["blob", "directory", "list"]), suffix=TEXTS)
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
            return of(arguments[0])
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
    return st.builds(model, **{name: of(field.annotation) for name, field in model.model_fields.items()})
