"""Pools as operators write them down, in a file `pools.yaml`: sizes and times with units, one table a pool.

pools:
  gpu:
    slot: {cpu: 8, memory: 32GiB, gpu: 1}
    slots_per_runner: 2
    max_runners: 3
    idle: 5m
"""

import math
import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from penstock.contracts.errors import InvalidInput
from penstock.contracts.numbers import Count
from penstock.contracts.pools import Limit, PoolName, PoolSpec, SlotSpec

_DECIMAL = {"kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_BINARY = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_SIZES = {"": 1, "B": 1, **_DECIMAL, **_BINARY}
_SPANS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _quantity(units: dict[str, Any], example: str) -> Any:
    def read(value: Any) -> Any:
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)", value.strip()) if isinstance(value, str) else None
        if found is None and isinstance(value, str):
            raise ValueError(f"{value!r}: write it as {example}")
        if found is None:
            return value
        if found[2] not in units:
            raise ValueError(f"{value!r} has the unit {found[2]!r}; there is {', '.join(filter(None, units))}")
        return float(found[1]) * units[found[2]]

    return read


def _whole(value: Any) -> Any:
    return math.floor(value) if isinstance(value, float) else value


_TEXT_OR_NUMBER = {"anyOf": [{"type": "string"}, {"type": "number"}]}
Size = Annotated[
    int,
    Field(ge=1),
    BeforeValidator(_whole),
    BeforeValidator(_quantity(_SIZES, "32GiB")),
    WithJsonSchema({**_TEXT_OR_NUMBER, "description": "Bytes, or as 32GiB"}),
]
Span = Annotated[
    float,
    Field(ge=0, le=3e9),
    BeforeValidator(_quantity(_SPANS, "5m")),
    WithJsonSchema({**_TEXT_OR_NUMBER, "description": "Seconds, or as 5m"}),
]


class _Text(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SlotText(_Text):
    """What one slot has."""

    cpu: Annotated[float, Field(gt=0)] = 1.0
    memory: Size | None = None
    gpu: Annotated[float, Field(ge=0)] = 0.0


class PoolText(_Text):
    """A pool, without its name."""

    slot: SlotText = SlotText()
    slots_per_runner: Annotated[Count, Field(ge=1)] = 4
    min_runners: Count = 0
    max_runners: Count = 1
    idle: Span = 300.0
    image: str | None = None
    limits: tuple[Limit, ...] = ()
    on_memory: PoolName | None = None


class PoolFile(_Text):
    """All pools of a file, by name."""

    pools: dict[PoolName, PoolText]


def pools_in(plain: Any, place: str) -> list[PoolSpec]:
    """The pools in the plain data of a file; `place` names it in errors.

    :raises InvalidInput: naming the place and what is wrong there.
    """
    try:
        return [_spec(name, text) for name, text in PoolFile.model_validate(plain).pools.items()]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "[key]") or "it"
        raise InvalidInput(f"{place}: {where}: {first['msg'].removeprefix('Value error, ')}") from error


def _spec(name: str, text: PoolText) -> PoolSpec:
    plain = text.model_dump(exclude={"slot", "idle"})
    try:
        return PoolSpec(
            name=name, slot=SlotSpec(cpu=text.slot.cpu, memory_bytes=text.slot.memory, gpu=text.slot.gpu), idle_seconds=text.idle, **plain
        )
    except ValidationError as error:
        raise InvalidInput(f"the pool {name!r}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def file_of(pools: Iterable[PoolSpec]) -> dict[str, Any]:
    """The plain data of a file with these pools; what is at its default is left out."""
    return {"pools": {pool.name: _plain(pool) for pool in pools}}


def _plain(pool: PoolSpec) -> dict[str, Any]:
    plain = pool.model_dump(mode="json", exclude_defaults=True, exclude={"name", "is_draining", "slot", "idle_seconds"})
    slot = pool.slot.model_dump(exclude_defaults=True, exclude={"memory_bytes"})
    if pool.slot.memory_bytes is not None:
        slot["memory"] = _size_text(pool.slot.memory_bytes)
    if pool.idle_seconds != PoolText().idle:
        plain["idle"] = _span_text(pool.idle_seconds)
    return ({"slot": slot} if slot else {}) | plain


def _size_text(size: int) -> str:
    unit = next((unit for unit in ("TiB", "GiB", "MiB", "KiB") if size % _SIZES[unit] == 0), "B")
    return f"{size // _SIZES[unit]}{unit}"


def _span_text(seconds: float) -> str:
    unit = next((unit for unit in "dhm" if seconds and seconds % _SPANS[unit] == 0), "s")
    return f"{seconds / _SPANS[unit]:g}{unit}"
