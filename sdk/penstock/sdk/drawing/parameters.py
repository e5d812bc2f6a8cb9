"""The parameters of a pipeline: what its signature says of them, and whether given values fit."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError

from penstock.contracts.artifacts import Value
from penstock.contracts.errors import InvalidInput
from penstock.contracts.named_artifacts import SCHEME, unresolved
from penstock.contracts.spec import ParameterSpec
from penstock.sdk.drawing.annotations import accepts_none, bare, cannot_fit, kind_of, text_of
from penstock.sdk.drawing.constants import Constants
from penstock.sdk.drawing.signatures import bound_arguments
from penstock.sdk.types import Directory, File

Read = Literal["text", "json", "file", "directory", "object"]


def parameter_specs(
    function: Callable[..., Any], signature: inspect.Signature, hints: Mapping[str, Any], constants: Constants
) -> list[ParameterSpec]:
    docs = _documented(inspect.getdoc(function) or "")
    specs: list[ParameterSpec] = []
    for name, parameter in signature.parameters.items():
        hint = hints.get(name, Any)
        is_required = parameter.default is inspect.Parameter.empty
        specs.append(
            ParameterSpec(
                name=name,
                type=text_of(hint),
                read=read_of(hint),
                schema=_schema(hint),
                required=is_required,
                default=None if is_required else _default(parameter.default, hint, constants),
                doc=docs.get(name, ""),
            )
        )
    return specs


def _default(value: Any, hint: Any, constants: Constants) -> Value:
    if isinstance(value, File | Directory) and value.uri.startswith(SCHEME):
        return unresolved(value.uri)
    return constants.value(value, hint)


def read_of(hint: Any) -> Read:
    """How text becomes a value of that type."""
    match kind_of(hint):
        case "file":
            return "file"
        case "directory":
            return "directory"
        case _:
            pass
    if bare(hint) is str:
        return "text"
    return "json" if adapter_of(hint) is not None else "object"


def adapter_of(hint: Any) -> TypeAdapter[Any] | None:
    """Checks values of a type; None: they are objects that only Python knows."""
    try:
        return TypeAdapter(hint)
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError, TypeError):
        return None


def _schema(hint: Any) -> dict[str, Any] | None:
    if hint is Any or read_of(hint) != "json":
        return None
    adapter = adapter_of(hint)
    try:
        return None if adapter is None else adapter.json_schema()
    except PydanticUserError:
        return None


def bound_parameters(pipeline: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that were given, by name.

    :raises InvalidInput: one is missing or unknown.
    """
    try:
        return dict(bound_arguments(signature, args, kwargs).arguments)
    except TypeError as error:
        raise InvalidInput(f"{pipeline}{signature}: {error}") from error


def checked_value(name: str, value: Any, hint: Any) -> Any:
    """`value`, if it fits the parameter's type.

    :raises InvalidInput: it does not.
    """
    if value is None and accepts_none(hint):
        return None
    wanted = kind_of(hint)
    if wanted in ("file", "directory"):
        if cannot_fit(type(value), hint):
            mend = f"; write {bare(hint).__name__}({value!r})" if isinstance(value, str) else ""
            raise InvalidInput(f"the parameter {name!r} takes {text_of(hint)}, and got {value!r}{mend}")
        return value
    adapter = adapter_of(hint)
    if adapter is None:
        if cannot_fit(type(value), hint):
            raise InvalidInput(f"the parameter {name!r} takes {text_of(hint)}, and got a {type(value).__name__}")
        return value
    try:
        return adapter.validate_python(value) if not isinstance(value, BaseModel) else value
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"[{part!r}]" for part in first["loc"])
        raise InvalidInput(
            f"the parameter {name!r} takes {text_of(hint)}, and got {_short(value)}: {first['msg']}{' at ' + place if place else ''}"
        ) from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _documented(doc: str) -> dict[str, str]:
    return {match[1]: match[2].strip() for match in re.finditer(r"^\s*:param (\w+):(.*)$", doc, re.MULTILINE)}
