"""What expressions see: `event` and `events` as the CEL library takes them, and how large they are.

The library turns a whole number beyond 64 bits into an inexact one without a word, so two identifiers could become one. Such numbers become
their digits as text here.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from penstock.contracts.cloud_events import CloudEvent
from penstock.engine.triggers.text_functions import FUNCTIONS

if TYPE_CHECKING:
    import cel

_LEAST, _MOST = -(2**63), 2**63 - 1
EVENT, EVENTS = "event", "events"
VARIABLES = (EVENT, EVENTS)


class Scope:
    """The events that an expression is about. `event` is the last of them."""

    def __init__(self, events: Sequence[CloudEvent]) -> None:
        self._events = events
        self._contexts: dict[str, cel.Context] = {}

    @cached_property
    def _plain(self) -> list[Any]:
        return [_fitting(event.variables) for event in self._events]

    def variables(self, names: Sequence[str]) -> dict[str, Any]:
        """Those of `names` that there are."""
        known: dict[str, Any] = {}
        if EVENT in names and self._events:
            known[EVENT] = self._plain[-1]
        if EVENTS in names:
            known[EVENTS] = self._plain
        return known

    def context(self, names: Sequence[str]) -> "cel.Context":
        """For the library, with no more than `names`: an evaluation copies all of it."""
        key = ",".join(names)
        if key not in self._contexts:
            import cel  # noqa: PLC0415 -- a third of a second, for who evaluates

            self._contexts[key] = cel.Context(self.variables(names), FUNCTIONS)
        return self._contexts[key]

    def around(self, variable: str, item: Any, names: Sequence[str]) -> "cel.Context":
        """For the body of a loop."""
        import cel  # noqa: PLC0415 -- as above

        return cel.Context({variable: item, **self.variables(names)}, FUNCTIONS)


def extent(value: Any) -> tuple[int, int]:
    """The length of the longest list or map in plain data, and how many values it has in all; a long text counts as several."""
    longest, total, left = 0, 0, [value]
    while left:
        match left.pop():
            case str() as text:
                total += 1 + len(text) // 16
            case {**inner}:
                longest, total = max(longest, len(inner)), total + 1 + len(inner)
                left.extend(inner.values())
            case [*some]:
                longest, total = max(longest, len(some)), total + 1
                left.extend(some)
            case _:
                total += 1
    return longest, total


def _fitting(value: Any) -> Any:
    match value:
        case bool() | None | float():
            return value
        case int():
            return value if _LEAST <= value <= _MOST else str(value)
        case str():
            return value if value.isascii() else value.encode("utf-8", "replace").decode()
        case dict():
            return {_fitting(key): _fitting(inner) for key, inner in cast("dict[str, Any]", value).items()}
        case list() | tuple():
            return [_fitting(inner) for inner in cast("list[Any]", value)]
        case _:
            return str(value)
