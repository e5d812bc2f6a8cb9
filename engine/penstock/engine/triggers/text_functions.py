"""Functions on text beside the library's own, spelled as CEL's string extension has them. What they make is bounded by what they are given.

They give null for arguments that don't fit, which an expression then can't use; an exception would be logged for each event by the library.
"""

from collections.abc import Callable
from typing import Any

from penstock.contracts.cloud_events import EVENT_LIMIT

PARTS_LIMIT = 1000
"""Most parts of a split text."""


def _texts(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _lower(text: Any) -> Any:
    return text.lower() if _texts(text) else None


def _upper(text: Any) -> Any:
    return text.upper() if _texts(text) else None


def _trim(text: Any) -> Any:
    return text.strip() if _texts(text) else None


def _split(text: Any, separator: Any) -> Any:
    if not _texts(text, separator) or not separator:
        return None
    return text.split(separator, PARTS_LIMIT)


def _join(parts: Any, separator: Any = "") -> Any:
    match parts:
        case [*texts] if _texts(separator, *texts):
            pass
        case _:
            return None
    size = sum(map(len, texts)) + len(separator) * len(texts)
    return separator.join(texts) if size <= EVENT_LIMIT else None


def _replace(text: Any, old: Any, new: Any) -> Any:
    if not _texts(text, old, new) or not old:
        return None
    return text.replace(old, new) if len(text) + text.count(old) * len(new) <= EVENT_LIMIT else None


def _substring(text: Any, start: Any, end: Any = None) -> Any:
    end = len(text) if end is None and _texts(text) else end
    if not _texts(text) or not isinstance(start, int) or not isinstance(end, int) or not 0 <= start <= end <= len(text):
        return None
    return text[start:end]


def _index_of(text: Any, part: Any) -> Any:
    return text.find(part) if _texts(text, part) else None


def _last_index_of(text: Any, part: Any) -> Any:
    return text.rfind(part) if _texts(text, part) else None


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "indexOf": _index_of,
    "join": _join,
    "lastIndexOf": _last_index_of,
    "lowerAscii": _lower,
    "replace": _replace,
    "split": _split,
    "substring": _substring,
    "trim": _trim,
    "upperAscii": _upper,
}
