"""The outputs of a pipeline: what its body returned, by name; and the value of its annotation, put together again."""

from collections.abc import Callable, Mapping
from typing import Any

from penstock.contracts.bindings import RESULT, Binding
from penstock.contracts.errors import GraphError
from penstock.sdk.drawing.annotations import fixed_tuple, outputs_of, text_of
from penstock.sdk.drawing.drawing import Drawing, bound
from penstock.sdk.drawing.handles import Handle, handles_in, part_of, source_of
from penstock.sdk.types import Done


def output_bindings(drawing: Drawing, returned: object, hint: Any) -> tuple[dict[str, Binding], dict[str, str]]:
    """The outputs by name, and their types.

    :raises GraphError: an item of a fan-out, which is many values.
    """
    for handle in handles_in(returned):
        source = handle.__penstock__
        if source.openings:
            raise GraphError(
                f"the pipeline {drawing.name!r} returns {source.label}, an item of a fan-out; "
                f"return the list of all: collect({source.label})"
            )
    parts = _parts(returned, hint)
    bindings = {name: bound(drawing, value, annotation) for name, (value, annotation) in parts.items()}
    return bindings, {name: text_of(annotation) for name, (_, annotation) in parts.items()}


def _parts(returned: Any, hint: Any) -> dict[str, tuple[object, Any]]:
    source = source_of(returned)
    if returned is None or (source is not None and source.annotation is Done):
        return {}
    if source is not None and isinstance(returned, Handle):
        fields = outputs_of(source.annotation) if source.part is not None else None
        if fields is None:
            return {RESULT: (returned, hint if hint is not Any else source.annotation)}
        return {name: (part_of(returned, name, annotation), annotation) for name, annotation in fields.items()}
    kind: Any = returned.__class__
    if kind is tuple and (hints := fixed_tuple(hint)):
        return {str(i): pair for i, pair in enumerate(zip(returned, hints, strict=True))}
    fields = outputs_of(kind)
    if fields is not None:
        return {name: (getattr(returned, name), annotation) for name, annotation in fields.items()}
    return {RESULT: (returned, hint)}


def rebuilt(values: Mapping[str, Any], hint: Any, decode: Callable[[Any, Any], Any]) -> Any:
    """The value of type `hint` out of outputs by name; `decode` makes one output's value, given its type."""
    if not values:
        return None
    if RESULT in values and len(values) == 1 and RESULT not in (outputs_of(hint) or {}):
        return decode(values[RESULT], hint)
    fields = outputs_of(hint) or {}
    decoded = {name: decode(value, fields.get(name, Any)) for name, value in values.items()}
    if fixed_tuple(hint):
        return tuple(decoded[str(i)] for i in range(len(decoded)))
    plain = getattr(hint, "__origin__", hint)
    return plain(**decoded) if fields and set(fields) == set(decoded) else decoded
