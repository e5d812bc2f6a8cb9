"""Values as JSON, guided by their type annotations: what is stored as JSON comes back equal and of the same type, or is not stored so."""

import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import json
import pathlib
import typing
import uuid
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from penstock.sdk.drawing.annotations import is_list, is_named_tuple, is_union

_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_PLAIN_LEAVES = (bool, int, float, str)
_EXACT_FLOATS = 2**53
_TEXT_LEAVES = (dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID, pathlib.PurePath)


class NotJson(Exception):
    """This value can't be JSON under this annotation."""


def json_bytes(value: Any, annotation: Any) -> bytes:
    """The canonical JSON of `value`, which `read_json` with the same annotation turns into an equal value.

    It is the canonical encoding of the contracts, but that text is kept as it is, not normalised.
    :raises NotJson: there is none.
    """
    kind = class_of(value)
    if kind is int and annotation is float and abs(value) <= _EXACT_FLOATS:
        value, kind = float(value), float  # 1 and 1.0 are one value of that type.
    if value is None or (kind in _PLAIN_LEAVES and (annotation is kind or annotation is Any)):
        return _dumps(value)
    try:
        if annotation is Any:
            if not _is_exactly_plain(value):
                raise NotJson
            return _dumps(value)
        data = _dumps(_plain(value))
    except RecursionError as error:
        raise NotJson("it is nested too deeply, or contains itself") from error
    if not _comes_back(data, value, annotation):
        raise NotJson
    return data


def read_json(data: bytes, annotation: Any) -> Any:
    """The value in JSON bytes, as the annotation has it.

    :raises NotJson: it does not fit the annotation.
    """
    if annotation is Any or annotation is object:
        return json.loads(data)
    adapter = _adapter_of(annotation)
    if adapter is None:
        raise NotJson
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise NotJson(f"{place}: {first['msg']}" if place else first["msg"]) from error


def class_of(value: object) -> type[Any]:
    return type(value)


def builtin_number(value: Any, annotation: Any) -> Any:
    """A numpy scalar as the builtin that the annotation wants; anything else as it is."""
    if annotation in (*_PLAIN_LEAVES, Any) and _is_numpy_scalar(value):
        return value.item()
    return value


def _is_numpy_scalar(value: Any) -> bool:
    kind = class_of(value)
    return kind.__module__ == "numpy" and kind.__name__ != "ndarray" and hasattr(value, "dtype") and value.dtype.kind in "biufU"


def _adapter_of(annotation: Any) -> TypeAdapter[Any] | None:
    try:
        return _cached_adapter(annotation)
    except TypeError:  # Not hashable, as Annotated[X, [..]] is not.
        return _new_adapter(annotation)


@functools.lru_cache(maxsize=4096)
def _cached_adapter(annotation: Any) -> TypeAdapter[Any] | None:
    return _new_adapter(annotation)


def _new_adapter(annotation: Any) -> TypeAdapter[Any] | None:
    if get_origin(annotation) in (collections.abc.Iterable, collections.abc.Collection):
        # pydantic reads an Iterable as an iterator, which can be gone through but once.
        annotation = Sequence[get_args(annotation)[0]]  # type: ignore[misc]  # the item's type is known at run time only
    try:
        return TypeAdapter[Any](annotation)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError, TypeError, AttributeError):
        pass  # A class that pydantic knows nothing of.
    if is_union(annotation):
        options = [option for option in get_args(annotation) if _adapter_of(option) is not None]
        if options:
            return TypeAdapter[Any](functools.reduce(_either, options))
    return None


def _either(left: Any, right: Any) -> Any:
    return left | right


def _dumps(plain: object) -> bytes:
    try:
        return _encoder.encode(plain).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise NotJson(str(error)) from error


def _is_exactly_plain(value: object) -> bool:
    """Whether it is made of plain JSON types alone, so that it comes back as it was without any annotation."""
    kind = type(value)
    if kind is list:
        return all(_is_exactly_plain(item) for item in typing.cast(list[object], value))
    if kind is dict:
        return all(type(key) is str and _is_exactly_plain(item) for key, item in typing.cast(dict[object, object], value).items())
    return value is None or kind in _PLAIN_LEAVES


def _plain(value: Any) -> Any:
    kind = class_of(value)
    if value is None or kind in _PLAIN_LEAVES:
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, _TEXT_LEAVES):
        return _text(value)
    if is_named_tuple(kind):
        # By name, not by position: readers of fields need not know the type.
        return {name: _plain(item) for name, item in zip(value._fields, value, strict=True)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in typing.cast(list[object], value)]
    if isinstance(value, dict):
        mapping = typing.cast(dict[object, object], value)
        return {_key(key): _plain(item) for key, item in mapping.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in typing.cast(set[object], value)), key=_dumps)
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, int | float | str):
        return _number(value)
    if _is_numpy_scalar(value):
        return _plain(value.item())
    raise NotJson


def _text(value: object) -> Any:
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError as error:
        raise NotJson from error


def _key(key: object) -> str:
    plain = _plain(key)
    if isinstance(plain, str):
        return plain
    if isinstance(plain, int | float):
        return _dumps(plain).decode()
    raise NotJson


def _number(value: int | float | str) -> int | float | str:
    """A number or text of a subclass, such as numpy's float64, as the builtin."""
    return int(value) if isinstance(value, int) else float(value) if isinstance(value, float) else str(value)


def _comes_back(data: bytes, value: Any, annotation: Any) -> bool:
    try:
        back = read_json(data, annotation)
        if is_list(annotation):
            return list(back) == list(value)
        return bool(back == value) and (type(back) is type(value) or isinstance(value, _PLAIN_LEAVES))
    except Exception:  # noqa: BLE001  # validators and __eq__ are the user's, and may raise anything; then it is not JSON
        return False
