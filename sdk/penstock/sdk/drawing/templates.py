"""f-strings over handles. Formatting a handle gives a marker; text that holds markers is a template when it is used."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

from penstock.contracts.errors import GraphError
from penstock.sdk.drawing.places import user_place

# Private-use characters: nobody types them, so text that holds them came out of an f-string over a handle.
_OPEN, _CLOSE = "\U000f0001", "\U000f0002"
_marked: ContextVar[dict[str, tuple[object, str]] | None] = ContextVar("marked", default=None)
_numbers = count()


@contextmanager
def marking() -> Generator[None]:
    """While it lasts, handles can be formatted."""
    token = _marked.set({})
    try:
        yield
    finally:
        _marked.reset(token)


def marker(handle: object, format_spec: str) -> str:
    """The text that stands for a handle in an f-string.

    :raises GraphError: its pipeline has been drawn.
    """
    marked = _marked.get()
    if marked is None:
        raise GraphError(f"{user_place()}: a handle was used after its pipeline had been drawn")
    name = f"{_OPEN}{next(_numbers)}{_CLOSE}"
    marked[name] = (handle, format_spec)
    return name


def has_marker(text: str) -> bool:
    return _OPEN in text or _CLOSE in text


def split_template(text: str) -> list[str | tuple[object, str]]:
    """The parts of a text that came out of an f-string over handles: text, or a handle with its format spec.

    :raises GraphError: the text was changed in between.
    """
    marked = _marked.get() or {}
    before, *rest = text.split(_OPEN)
    parts: list[str | tuple[object, str]] = [before]
    for piece in rest:
        number, _, after = piece.partition(_CLOSE)
        parts += [marked.get(f"{_OPEN}{number}{_CLOSE}", _CLOSE), after]
    if any(isinstance(part, str) and _CLOSE in part for part in parts):
        raise GraphError(f"{user_place()}: the text of an f-string over a handle was cut or changed; build the whole text in one f-string")
    return [part for part in parts if not isinstance(part, str) or part]
