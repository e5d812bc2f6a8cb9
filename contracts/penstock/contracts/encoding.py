"""The canonical encoding: one byte string for one meaning, on every Python and platform.

JSON in UTF-8, keys sorted, no spaces, exact integers, shortest round-trip floats, text in NFC, neither NaN nor infinity.
An identity is the digest of such bytes.
"""

import hashlib
import json
import math
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any, cast

from pydantic import BaseModel

from penstock.contracts.errors import ContractError

# Made once: making one costs more than encoding a small value.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Any) -> bytes:
    """The canonical encoding of plain data (None, bool, int, float, str, list, tuple, dict with str keys).

    :raises ContractError: for anything else, for NaN and infinities, for data that is nested too deeply, and for integers of more
        digits than Python writes out.
    """
    try:
        text = _ENCODER.encode(_normal(value, "$"))
    except (RecursionError, ValueError) as error:
        raise ContractError(f"no canonical encoding: {error}") from error
    return text.encode("utf-8", "surrogatepass")


def digest_bytes(data: bytes) -> str:
    """`sha256:<hex>` of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """`sha256:<hex>` of the canonical encoding of plain data."""
    return digest_bytes(canonical(value))


def _normal(value: Any, where: str) -> Any:
    match value:
        case None | bool() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise ContractError(f"{where}: {value} has no canonical encoding; use a number or None")
            return value
        case str():
            return value if value.isascii() else unicodedata.normalize("NFC", value)
        case list() | tuple():
            return [_normal(item, f"{where}[{i}]") for i, item in enumerate(cast("list[Any]", value))]
        case dict():
            return _normal_map(cast("Mapping[Any, Any]", value), where)
        case _:
            raise ContractError(f"{where}: {type(value).__name__} has no canonical encoding")


def _normal_map(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    normal: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise ContractError(f"{where}: the key {key!r} is not text")
        name = key if key.isascii() else unicodedata.normalize("NFC", key)
        if name in normal:
            raise ContractError(f"{where}: two keys are the same text {name!r} in NFC")
        normal[name] = _normal(item, f"{where}.{name}")
    return normal


def fields_of(value: Any) -> Collection[str]:
    """The names in plain data or a model that tell which of several shapes it has; empty for what is neither."""
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).keys()
    return type(value).model_fields if isinstance(value, BaseModel) else ()
