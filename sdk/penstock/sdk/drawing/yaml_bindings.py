"""Bindings as people write them in `penstock.yaml`: plain data, constants as they are, unknown keys refused."""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from penstock.contracts.artifacts import ArtifactRef, Value, inline
from penstock.contracts.bindings import (
    Binding,
    Compare,
    Either,
    Files,
    FromItem,
    FromNode,
    FromParameter,
    ListOf,
    Literal_,
    Not,
    RecordOf,
    Select,
    Template,
    TemplatePart,
)
from penstock.contracts.errors import ContractError, GraphError
from penstock.sdk.nearest import nearest_hint

_KINDS: dict[str, type[BaseModel]] = {
    "value": Literal_,
    "parameter": FromParameter,
    "node": FromNode,
    "item": FromItem,
    "select": Select,
    "glob": Files,
    "file": Files,
    "list": ListOf,
    "record": RecordOf,
    "template": Template,
    "either": Either,
    "compare": Compare,
    "negate": Not,
}
_INNER = ("of", "left", "right", "negate")


def plain_binding(binding: Binding) -> dict[str, Any]:
    """:raises GraphError: a constant in it is no small JSON value."""
    return {name: _plain(name, getattr(binding, name)) for name in binding.model_fields_set}


def plain_value(value: Value) -> Any:
    """:raises GraphError: it is no small JSON value."""
    if isinstance(value, ArtifactRef) and value.is_inline:
        return value.json_value()
    raise GraphError("a constant that is no small JSON value can't be written in YAML; make it a parameter")


def _plain(name: str, part: Any) -> Any:
    if name == "value":
        return plain_value(part)
    if name == "record":
        return {key: plain_binding(item) for key, item in part.items()}
    if name in ("list", "either"):
        return [plain_binding(item) for item in part]
    if name == "template":
        return [item if isinstance(item, str) else {"of": plain_binding(item.of), "format": item.format} for item in part]
    if name in _INNER:
        return plain_binding(part)
    return [*cast(tuple[object, ...], part)] if isinstance(part, tuple) else part


def read_binding(data: Any, where: str) -> Binding:
    """:raises GraphError: it is no binding; the text says where."""
    written = mapping(data, where)
    kind = next((kind for key, kind in _KINDS.items() if key in written), None)
    if kind is None:
        raise GraphError(f"{where}: a value is written as one of {', '.join(_KINDS)}, as in {{parameter: raw}}")
    refuse_unknown(written, kind, where)
    parts = {name: _read(name, part, f"{where}.{name}") for name, part in written.items()}
    return cast(Binding, validated(kind, parts, where))


def _read(name: str, part: Any, where: str) -> Any:
    if name == "value":
        return read_value(part, where)
    if name == "record":
        return {key: read_binding(item, f"{where}.{key}") for key, item in mapping(part, where).items()}
    if name in ("list", "either"):
        return tuple(read_binding(item, f"{where}[{i}]") for i, item in enumerate(sequence(part, where)))
    if name == "template":
        return tuple(item if isinstance(item, str) else _read_part(item, where) for item in sequence(part, where))
    return read_binding(part, where) if name in _INNER else part


def _read_part(data: Any, where: str) -> TemplatePart:
    written = mapping(data, where)
    refuse_unknown(written, TemplatePart, where)
    return TemplatePart(of=read_binding(written.get("of"), where), format=str(written.get("format", "")))


def read_value(data: Any, where: str) -> Value:
    """:raises GraphError: it is no small JSON value."""
    try:
        return inline(data)
    except ContractError as error:
        raise GraphError(f"{where}: {error}") from error


def mapping(data: Any, where: str) -> Mapping[str, Any]:
    """:raises GraphError: it is no mapping of names."""
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in cast(Mapping[object, object], data)):
        raise GraphError(f"{where}: a mapping is wanted here, not {data!r}")
    return cast(Mapping[str, Any], data)


def sequence(data: Any, where: str) -> list[Any]:
    """:raises GraphError: it is no list."""
    if not isinstance(data, list):
        raise GraphError(f"{where}: a list is wanted here, not {data!r}")
    return [*cast(list[object], data)]


def refuse_unknown(written: Mapping[str, Any], kind: type[BaseModel], where: str, more: tuple[str, ...] = ()) -> None:
    """:raises GraphError: a key that is none of the fields, with the nearest."""
    known = [field.alias or name for name, field in kind.model_fields.items()] + list(more)
    for key in written:
        if key not in known:
            raise GraphError(f"{where}: unknown key {key!r}{nearest_hint(key, known)}")


def validated(kind: type[BaseModel], fields: Mapping[str, Any], where: str) -> BaseModel:
    """:raises GraphError: a field has the wrong form."""
    try:
        return kind.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise GraphError(f"{where}{'.' + place if place else ''}: {first['msg']}") from error
