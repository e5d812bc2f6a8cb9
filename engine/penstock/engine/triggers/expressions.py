"""Expressions of triggers: CEL, compiled once, evaluated over `event` and `events`, answering plain JSON or an `ExpressionError`.

Whoever sends an event decides how much an expression has to do. So loops don't nest, and what they run over is bounded.
"""

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from penstock.contracts.errors import InvalidInput
from penstock.engine.triggers.evaluation import ItemByItem, Native, check_sums, plan
from penstock.engine.triggers.patterns import check_patterns
from penstock.engine.triggers.scope import VARIABLES, Scope
from penstock.engine.triggers.syntax import Loop, Nested, loops_in
from penstock.engine.triggers.text_functions import FUNCTIONS

LENGTH_LIMIT = 4096
LOOP_LIMIT = 4
"""Loops of one expression."""
# The library's own; that of a loop with the wrong arguments counts as unknown.
_DATES = ["getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getMonth"]
_TIMES = ["getHours", "getMilliseconds", "getMinutes", "getSeconds"]
_MADE = ["bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"]
_KNOWN = frozenset(["contains", "endsWith", "matches", "size", "startsWith", *_DATES, *_TIMES, *_MADE, *FUNCTIONS])
_TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
"""Names of types, which the library has as variables: `type(event.data) == list`."""
_PROBLEMS = (ValueError, LookupError, TypeError, RuntimeError, ArithmeticError)
"""What the library raises."""


class ExpressionError(InvalidInput):
    """An expression that is not CEL, asks for too much, or can't be evaluated over these events."""


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression. `what` says in errors whose it is."""

    text: str
    what: str
    names: tuple[str, ...]
    """Which of `event` and `events` it uses."""
    _plan: Native | ItemByItem

    def value(self, scope: Scope) -> Any:
        """What it comes to, as plain JSON: a timestamp in RFC 3339, a duration in ISO 8601, bytes in base64.

        :raises ExpressionError: it can't be evaluated over these events; the text names what is missing or unfit.
        """
        try:
            check_sums(self.text, self.names, scope)
            return self._plain(self._plan.value(scope))
        except ExpressionError:
            raise
        except _PROBLEMS as error:
            raise self._error(_why(error)) from error

    def holds(self, scope: Scope) -> bool:
        """Whether it comes to true.

        :raises ExpressionError: as `value`, or it is neither true nor false.
        """
        found = self.value(scope)
        if isinstance(found, bool):
            return found
        raise self._error(f"it is {_kind(found)}, not true or false; compare it with something")

    def constant(self) -> tuple[Any] | None:
        """What it always comes to; None if that depends on the events.

        :raises ExpressionError: it can't be evaluated at all.
        """
        return None if self.names else (self.value(Scope([])),)

    def _error(self, why: str) -> ExpressionError:
        return ExpressionError(f"{self.what} `{_shown(self.text)}`: {why}")

    def _plain(self, value: Any) -> Any:
        match value:
            case None | bool() | str() | int():
                return value
            case float():
                if not math.isfinite(value):
                    raise self._error(f"it is {value}, which JSON does not have")
                return value
            case datetime():
                return value.isoformat().removesuffix("+00:00") + ("Z" if value.utcoffset() == timedelta() else "")
            case timedelta():
                return _duration(value)
            case bytes():
                return base64.b64encode(value).decode()
            case [*items]:
                return [self._plain(item) for item in items]
            case {**entries}:
                return self._plain_map(entries)
            case _:
                raise self._error(f"it is {_kind(value)}, which JSON does not have")

    def _plain_map(self, entries: dict[Any, Any]) -> dict[str, Any]:
        for key in entries:
            if not isinstance(key, str):
                raise self._error(f"a map's key is {_kind(key)}; JSON has text there: string({key})")
        return {str(key): self._plain(inner) for key, inner in entries.items()}


def compiled(text: str, what: str, variables: Sequence[str] = VARIABLES) -> Program:
    """The expression, ready to be evaluated often. `what` says in errors whose it is, `variables` what it may use.

    :raises ExpressionError: not CEL, an unknown name, a loop in a loop; the text says where and what to do.
    """
    try:
        planned, names, bound = _compiled(text)
    except _Refused as error:
        raise ExpressionError(f"{what} `{_shown(text)}`: {error}") from error
    taken = bound & {*variables, *_TYPES}
    if taken:
        raise ExpressionError(f"{what} `{_shown(text)}`: a loop can't call its items `{min(taken)}`, which means something else")
    unknown = [name for name in names if name not in variables]
    if unknown:
        raise ExpressionError(
            f"{what} `{_shown(text)}`: there is no `{unknown[0]}`; it can use {' and '.join(f'`{name}`' for name in variables)}"
        )
    return Program(text, what, names, planned)


class _Refused(ValueError):
    pass


@lru_cache(maxsize=2048)
def _compiled(text: str) -> tuple[Native | ItemByItem, tuple[str, ...], frozenset[str]]:
    import cel  # noqa: PLC0415 -- a third of a second, for who evaluates

    if len(text) > LENGTH_LIMIT:
        raise _Refused(f"it has {len(text)} characters, {LENGTH_LIMIT} at most")
    try:
        program = cel.compile(text)
        references = program.references()
    except _PROBLEMS as error:
        raise _Refused(_why(error)) from error
    loops = _loops(text)
    bound = frozenset(loop.variable for loop in loops)
    unknown = [name for name in references["functions"] if re.fullmatch(r"[A-Za-z_]\w*", name) and name not in _KNOWN]
    if unknown:
        raise _Refused(f"there is no function `{unknown[0]}` of that many arguments")
    if "matches" in references["functions"]:
        _check_patterns(text)
    names = tuple(name for name in references["variables"] if name not in bound and name not in _TYPES)
    return plan(text, Native(program, names, loops)), names, bound


def _check_patterns(text: str) -> None:
    try:
        check_patterns(text)
    except ValueError as error:
        raise _Refused(str(error)) from error


def _loops(text: str) -> tuple[Loop, ...]:
    try:
        loops = tuple(loops_in(text))
    except Nested as error:
        raise _Refused(f"`{error}` is inside of another loop; loops can't be nested, let the event say what it is about") from error
    except ValueError as error:
        raise _Refused(str(error)) from error
    if len(loops) > LOOP_LIMIT:
        raise _Refused(f"it has {len(loops)} loops, {LOOP_LIMIT} at most")
    return loops


def _why(error: Exception) -> str:
    text = str(error)
    match error:
        case KeyError():
            return f"there is no {text}; has(...) asks whether there is"
        case RecursionError():
            return "the event is nested too deeply"
        case ZeroDivisionError():
            return "it divides by zero"
        case TypeError() if "No such overload" in text:
            return "an operation got something that it does not take; it wants values of one type, as int(...) and string(...) make them"
        case RuntimeError() if "Undefined variable or function" in text:
            return f"`{text.split(chr(39))[1]}` is unknown here, or got something that it does not take"
        case _:
            return _brief(text)


def _brief(text: str) -> str:
    """The library's words without the echo of the expression."""
    if "ERROR: <input>:" in text:
        text = "at " + text.split("ERROR: <input>:", 1)[1].split("\n", 1)[0]
    return text.split(". CEL does not", 1)[0][:300]


def _shown(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."


def _kind(value: Any) -> str:
    name: str = type(value).__name__
    names = {
        "NoneType": "null",
        "bool": "true or false",
        "int": "a number",
        "float": "a number",
        "str": "text",
        "list": "a list",
        "dict": "a map",
    }
    return names.get(name, name)


def _duration(value: timedelta) -> str:
    seconds = value / timedelta(seconds=1)
    sign = "-" if seconds < 0 else ""
    return f"{sign}PT{abs(seconds):.6f}".rstrip("0").rstrip(".") + "S"
