"""Files that declare triggers, or mappings of plain messages: YAML documents, in which spans of time may be written as people do (`5m`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from penstock.contracts.errors import InvalidInput
from penstock.contracts.event_mappings import EventMapping
from penstock.contracts.pool_file import Span
from penstock.contracts.triggers import TriggerSpec

M = TypeVar("M", bound=BaseModel)
_SECONDS = "_seconds"
# What these say without the unit in their name.
_SPANS = frozenset({"within", "poll", "settle", "at_most"})


def read_triggers(path: Path) -> list[TriggerSpec]:
    """The triggers of a file: one a document, a list of them, or a list under `triggers`.

    :raises InvalidInput: it can't be read, or naming the place and what is wrong there.
    """
    return [_checked(TriggerSpec, _with_seconds(plain, where), where) for where, plain in _entries(path, "triggers")]


def read_mappings(path: Path) -> list[EventMapping]:
    """The mappings of a file, likewise, under `mappings`.

    :raises InvalidInput: it can't be read, or naming the place and what is wrong there.
    """
    return [_checked(EventMapping, plain, where) for where, plain in _entries(path, "mappings")]


def is_trigger_file(path: Path) -> bool:
    """Whether a YAML file declares triggers by themselves, rather than a pipeline."""
    return path.suffix in (".yaml", ".yml") and all(
        isinstance(plain, dict) and (True in plain or "on" in plain) for _, plain in _entries(path, "triggers")
    )


def _entries(path: Path, name: str) -> list[tuple[str, Any]]:
    try:
        documents: list[Any] = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(f"{path} can't be read: {error}") from error
    found: list[tuple[str, Any]] = []
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        where = f"{path}, document {number}" if len(documents) > 1 else str(path)
        match document:
            case {**parts} if parts.keys() == {name}:
                found += [(f"{where}: {name}[{place}]", one) for place, one in enumerate(_listed(parts[name], f"{where}: {name}"))]
            case [*listed]:
                found += [(f"{where}: [{place}]", one) for place, one in enumerate(listed)]
            case _:
                found.append((where, document))
    if not found:
        raise InvalidInput(f"{path} declares nothing")
    return found


def _listed(value: Any, where: str) -> list[Any]:
    match value:
        case [*items]:
            return items
        case _:
            raise InvalidInput(f"{where}: it must be a list")


def _with_seconds(value: Any, where: str) -> Any:
    match value:
        case {**parts}:
            named = [(_name(name), part) for name, part in parts.items()]
            return {name: _seconds(part, f"{where}: {name}") if _is_span(name) else _with_seconds(part, where) for name, part in named}
        case [*items]:
            return [_with_seconds(item, where) for item in items]
        case _:
            return value


def _name(name: Any) -> Any:
    if name is True:
        return "on"  # as YAML 1.1 reads the word
    return f"{name}{_SECONDS}" if name in _SPANS else name


def _is_span(name: Any) -> bool:
    return isinstance(name, str) and (name == "seconds" or name.endswith(_SECONDS))


def _seconds(value: Any, where: str) -> Any:
    if value is None:
        return None
    try:
        return TypeAdapter[float](Span).validate_python(value)
    except ValidationError as error:
        raise InvalidInput(f"{where}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _checked(model: type[M], plain: Any, where: str) -> M:
    if not isinstance(plain, Mapping):
        raise InvalidInput(f"{where}: it must be a mapping of names to values")
    try:
        return model.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{where}{': ' + place if place else ''}: {first['msg'].removeprefix('Value error, ')}") from error
