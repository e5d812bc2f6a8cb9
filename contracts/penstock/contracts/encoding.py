"""The canonical encoding: one byte string for one meaning, on every Python and platform.

JSON in UTF-8, keys sorted, no spaces, exact integers, shortest round-trip floats, text in NFC, neither NaN nor infinity.
An identity is the digest of such bytes.
"""

import hashlib
import json
import math
import unicodedata
from typing import Any

from penstock.contracts.errors import ContractError



def canonical(value: Any) -> bytes:
    """The canonical encoding of plain data (None, bool, int, float, str, list, tuple, dict with str keys).

    :raises ContractError: for anything else, and for NaN and infinities.
    """
    text = json.dumps(
        _normal(value, "$"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
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
            return [_normal(item, f"{where}[{i}]") for i, item in enumerate(value)]
        case dict():
            for key in value:
                if not isinstance(key, str):
                    raise ContractError(f"{where}: the key {key!r} is not text")
            return {unicodedata.normalize("NFC", key): _normal(item, f"{where}.{key}") for key, item in value.items()}
        case _:
            raise ContractError(f"{where}: {type(value).__name__} has no canonical encoding")
