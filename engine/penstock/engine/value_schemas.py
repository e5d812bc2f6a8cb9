"""Values judged by the JSON Schema of a parameter's type, within bounds.

Whoever publishes a pipeline writes the schema, and whoever sends an event the value: neither may decide how long the judgement takes, nor
what is fetched for it. So a schema refers to nothing outside of itself, references are counted, and patterns are matched in linear time.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple, cast

from jsonschema import Draft202012Validator, FormatChecker, validators
from jsonschema.exceptions import SchemaError, UnknownType, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from penstock.contracts.encoding import canonical
from penstock.contracts.errors import ContractError, InvalidInput
from penstock.engine.triggers.scope import extent

REFERENCES = 1000
"""So many are followed for any value."""
REFERENCES_OF_A_PART = 10
"""And so many more for each of its parts."""
_NOWHERE: Registry[Any] = Registry()
_BROKEN = (SchemaError, UnknownType, Unresolvable, RecursionError, re.error, ContractError, ValueError, ArithmeticError, LookupError)
# Of schemas whose parts are something else than they should be.
_BROKEN_PARTS = (TypeError, AttributeError)
_left: ContextVar[list[int]] = ContextVar("references left")


class UnusableSchema(InvalidInput):
    """The schema is none, or can't be followed."""


class Problem(NamedTuple):
    """What a schema has against a value: `path` leads to the part that it is about."""

    message: str
    path: tuple[str | int, ...]


def first_problem(schema: Mapping[str, Any], value: Any, formats: FormatChecker | None = None) -> Problem | None:
    """What the schema has against a value; None: nothing. Of formats, those that `formats` checks count.

    :raises UnusableSchema: the schema refers to what is not in it or to itself without end, or has a pattern that is none.
    """
    # Without a limit a few lines of schema, each of which refers to the next one twice, take for ever.
    token = _left.set([REFERENCES + REFERENCES_OF_A_PART * extent(value)[1]])
    try:
        error: Any = next(_validator(json.dumps(schema), formats).iter_errors(value), None)
    except (*_BROKEN, *_BROKEN_PARTS) as broken:
        raise UnusableSchema(f"the type's own JSON Schema can't be used ({type(broken).__name__})") from broken
    finally:
        _left.reset(token)
    return None if error is None else Problem(str(error.message)[:300], tuple(error.absolute_path))


@lru_cache(maxsize=256)
def _validator(schema: str, formats: FormatChecker | None) -> Any:
    return _Bounded(json.loads(schema), registry=_NOWHERE, format_checker=formats)


def _reference(validator: Any, ref: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    left = _left.get()
    left[0] -= 1
    if left[0] < 0:
        raise UnusableSchema("its references lead to each other too often")
    yield from cast("Any", Draft202012Validator).VALIDATORS["$ref"](validator, ref, instance, schema)


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{instance[:100]!r} does not match {pattern[:100]!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, inner in patterns.items():
        for name, value in cast("dict[str, Any]", instance).items():
            if _matches(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _unique(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if wanted is True and isinstance(instance, list):
        items: list[Any] = instance  # pyright: ignore[reportUnknownVariableType]  # of whatever
        if len({canonical(_comparable(item)) for item in items}) < len(items):
            yield ValidationError("it has an item twice")


def _comparable(item: Any) -> Any:
    """1.0 is 1 for JSON Schema."""
    match item:
        case float() if item.is_integer():
            return int(item)
        case [*items]:
            return [_comparable(one) for one in items]
        case {**entries}:
            return {key: _comparable(one) for key, one in entries.items()}
        case _:
            return item


def _matches(pattern: str, text: str) -> bool:
    """In time that grows with the text and no faster. What takes looking around is left to the step, which reads the value by its type."""
    re.compile(pattern)
    import cel  # noqa: PLC0415 -- a third of a second, for schemas with patterns

    try:
        return bool(cel.evaluate("text.matches(pattern)", {"text": text.encode("utf-8", "replace").decode(), "pattern": pattern}))
    except (ValueError, RuntimeError):
        return True


_Bounded = cast("Any", validators).extend(
    Draft202012Validator,
    {"$ref": _reference, "$dynamicRef": _reference, "pattern": _pattern, "patternProperties": _pattern_properties, "uniqueItems": _unique},
)
