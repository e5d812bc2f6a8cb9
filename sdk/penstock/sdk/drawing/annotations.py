"""Type annotations: how people read them, which fields a value has, and which value can't fit where."""

import collections.abc
import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from penstock.sdk.types import Directory, File

OutputKind = Literal["value", "file", "directory", "list"]
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, resolved as far as they can be; one that can't is `Any`."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError):
        return {name: _resolved(function, hint) for name, hint in inspect.get_annotations(function).items()}


def _resolved(function: Callable[..., Any], hint: Any) -> Any:
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, getattr(function, "__globals__", {}))  # noqa: S307  # an annotation of the user's own module
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any


def text_of(annotation: Any) -> str:
    """The annotation as people write it, the same on every Python: `Sequence[File]`, `float | None`."""
    if annotation is inspect.Parameter.empty or annotation is Any:
        return "Any"
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, str):
        return annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return text_of(arguments[0])
    if is_union(annotation):
        return " | ".join(text_of(argument) for argument in arguments)
    if origin is Literal:
        return f"Literal[{', '.join(repr(argument) for argument in arguments)}]"
    if origin is not None and arguments:
        inner = ", ".join("..." if argument is Ellipsis else text_of(argument) for argument in arguments)
        return f"{_name(origin)}[{inner}]"
    return _name(annotation)


def _name(annotation: Any) -> str:
    return str(getattr(annotation, "__qualname__", None) or getattr(annotation, "__name__", None) or annotation).split("<locals>.")[-1]


def is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (typing.Union, types.UnionType)


def bare(annotation: Any) -> Any:
    """The annotation without `Annotated` and without `None`: what a field is looked up in."""
    if get_origin(annotation) is typing.Annotated:
        return bare(get_args(annotation)[0])
    if is_union(annotation):
        rest = [argument for argument in get_args(annotation) if argument is not type(None)]
        return bare(rest[0]) if len(rest) == 1 else annotation
    return annotation


def accepts_none(annotation: Any) -> bool:
    if annotation is None or annotation is type(None):
        return True
    if get_origin(annotation) is typing.Annotated:
        return accepts_none(get_args(annotation)[0])
    return is_union(annotation) and any(accepts_none(argument) for argument in get_args(annotation))


def is_list(annotation: Any) -> bool:
    """Whether a value of it is a list of items: `list`, `Sequence`, `tuple[X, ...]`."""
    plain = bare(annotation)
    origin = get_origin(plain) or plain
    if origin is tuple:
        arguments = get_args(plain)
        return len(arguments) == 2 and arguments[1] is Ellipsis
    return origin in _LISTS


def may_be_list(annotation: Any) -> bool:
    """Whether a value of it can have items that are looked at one by one: False only where it surely has not."""
    if is_list(annotation):
        return True
    kind = _plain_class(annotation)
    return kind is None or kind in (object, tuple, set, frozenset)


def item_of(annotation: Any) -> Any:
    """The type of a list's items, `Any` where it is not said."""
    arguments = get_args(bare(annotation))
    return arguments[0] if arguments else Any


def list_of(annotation: Any) -> Any:
    """The type of a list of such."""
    return types.GenericAlias(list, (annotation,))


def optional(annotation: Any) -> Any:
    """The type with None."""
    if annotation is Any or accepts_none(annotation):
        return annotation
    return typing.Optional[annotation]  # noqa: UP045  # `annotation | None` fails for text


def kind_of(annotation: Any) -> OutputKind:
    plain = bare(annotation)
    if plain is File:
        return "file"
    if plain is Directory:
        return "directory"
    return "list" if is_list(plain) else "value"


def fixed_tuple(annotation: Any) -> tuple[Any, ...] | None:
    """The types of a tuple of fixed length."""
    plain = bare(annotation)
    arguments = get_args(plain)
    return arguments if get_origin(plain) is tuple and arguments and Ellipsis not in arguments else None


def is_named_tuple(annotation: Any) -> bool:
    return isinstance(annotation, type) and hasattr(annotation, "_fields") and issubclass(annotation, tuple)


def fields_of(annotation: Any) -> dict[str, Any] | None:
    """The fields of a NamedTuple, dataclass, pydantic model or fixed tuple (`0`, `1`, ...) with their types, else None."""
    plain = bare(annotation)
    if (items := fixed_tuple(plain)) is not None:
        return {str(i): item for i, item in enumerate(items)}
    plain = get_origin(plain) or plain
    return _class_fields(plain) if isinstance(plain, type) else None


def _class_fields(kind: type[Any]) -> dict[str, Any] | None:
    if issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if is_named_tuple(kind):
        names: tuple[str, ...] = getattr(kind, "_fields", ())
    elif dataclasses.is_dataclass(kind):
        names = tuple(field.name for field in dataclasses.fields(kind))
    else:
        return None
    hints = _class_hints(kind)
    return {name: hints.get(name, Any) for name in names}


def outputs_of(annotation: Any) -> dict[str, Any] | None:
    """The several outputs that a return annotation makes: a NamedTuple's, a dataclass's, a fixed tuple's; None: it is one."""
    if is_union(annotation):
        return None
    plain = bare(annotation)
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        return None
    return fields_of(plain)


def _class_hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except (NameError, AttributeError, TypeError):
        return {name: hint if not isinstance(hint, str) else Any for name, hint in inspect.get_annotations(cls).items()}


def cannot_fit(given: Any, wanted: Any) -> bool:
    """Whether a value of type `given` surely can't stand where `wanted` is: False wherever there is a doubt."""
    if wanted is inspect.Parameter.empty or given is inspect.Parameter.empty:
        return False
    if is_union(wanted):
        return all(cannot_fit(given, option) for option in get_args(wanted))
    if is_union(given):
        return all(cannot_fit(option, wanted) for option in get_args(given))
    if is_list(given) and is_list(wanted):
        return cannot_fit(item_of(given), item_of(wanted))
    left, right = _plain_class(given), _plain_class(wanted)
    if left is None or right is None or right is object or left is object:
        return False
    if right in (float, complex) and issubclass(left, int):
        return False
    return not issubclass(left, right)


def _plain_class(annotation: Any) -> type | None:
    if annotation is None:
        return type(None)
    plain = annotation if annotation is type(None) else bare(annotation)
    plain = get_origin(plain) or plain
    if not isinstance(plain, type) or plain is Any or getattr(plain, "_is_protocol", False):
        return None
    return plain
