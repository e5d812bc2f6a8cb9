"""JSON from outside, within bounds: whatever the bytes are, what comes of them is plain data or a `ContractError`. Pure."""

import json
import math
from typing import Any, NoReturn

from penstock.contracts.errors import ContractError

DEPTH = 64
"""Lists and maps within each other, at most."""


def json_of(body: bytes, what: str) -> Any:
    """:raises ContractError: `what` is no JSON, or JSON that can't be kept: NaN, an infinity, nested too deeply."""
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ContractError(f"{what} is nested too deeply: {DEPTH} levels at most") from error
    except ValueError as error:
        raise ContractError(f"{what} is no JSON in UTF-8: {error}") from error
    _check_depth(value, what)
    return value


def _check_depth(value: Any, what: str) -> None:
    level: list[Any] = [value]
    for _ in range(DEPTH):
        level = [item for part in level for item in _items(part)]
        if not level:
            return
    raise ContractError(f"{what} is nested too deeply: {DEPTH} levels at most")


def _items(part: Any) -> list[Any]:
    match part:
        case {**entries}:
            return list(entries.values())
        case [*items]:
            return items
        case _:
            return []


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no number that can be kept")
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
