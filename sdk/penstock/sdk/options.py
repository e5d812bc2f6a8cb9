"""The options of steps, pipelines and runs as people write them, and what they become in a spec."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Literal, TypedDict, get_type_hints

from penstock.contracts.errors import GraphError, InvalidInput
from penstock.contracts.spec import ResourcesSpec, RetrySpec, SecretRef
from penstock.sdk.types import Environment, Resources, Retry, Secret

Duration = str | float | timedelta


class CallOptions(TypedDict, total=False):
    """Options that don't change what a step gives."""

    name: str
    pool: str
    resources: Resources
    environment: Environment
    env_vars: Mapping[str, str | Secret]
    pass_env: Sequence[str]
    files: Sequence[str]
    cache: bool | str
    version: str | int
    retries: int | Retry
    timeout: Duration
    isolation: Literal["fork", "spawn", "reuse", "docker"]
    idempotent: bool
    after: object


class StepOptions(CallOptions, total=False):
    """All options of a step, the same for `@step`, `.options`, `ScriptStep`, `CommandStep` and `@pipeline(defaults=...)`."""

    allow_failure: bool


class RunOptions(TypedDict, total=False):
    """How one run goes: `.options(...)` of a pipeline."""

    name: str
    tags: Mapping[str, str]
    experiment: str
    rerun: str | Sequence[str]
    until: str
    profile: str
    inline: bool
    replace: Mapping[str, Callable[..., Any]]
    overrides: Mapping[str, StepOptions]
    keep_going: bool
    timeout: Duration
    priority: int
    max_parallel: int


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def seconds(duration: Duration, what: str = "a duration") -> float:
    """`"10m"`, `"1h30m"`, `timedelta` or a number of seconds, as seconds.

    :raises InvalidInput: it is none of these, or not above zero.
    """
    match duration:
        case timedelta():
            found = duration.total_seconds()
        case str():
            parts = re.findall(r"([\d.]+)\s*(ms|[smhdw])", duration)
            if not parts or re.sub(r"([\d.]+)\s*(ms|[smhdw])", "", duration).strip():
                raise InvalidInput(f"{what} is {duration!r}; write a number with a unit, such as '30s', '10m', '6h' or '1d'")
            found = sum(_number(number, what) * _SECONDS[unit] for number, unit in parts)
        case _:
            found = float(duration)
    if found <= 0:
        raise InvalidInput(f"{what} is {duration!r}; it must be above zero")
    return found


def memory_bytes(size: int | str, what: str = "memory") -> int:
    """`"32GiB"`, `"500MB"` or a number of bytes, as bytes.

    :raises InvalidInput: it is neither.
    """
    if isinstance(size, int):
        return size
    match = re.fullmatch(r"\s*([\d.]+)\s*([A-Za-z]+)\s*", size)
    if match is None or match[2].upper() not in _BYTES:
        raise InvalidInput(f"{what} is {size!r}; write a number with a unit, such as '512MiB', '32GiB' or '1TB'")
    return int(_number(match[1], what) * _BYTES[match[2].upper()])


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInput(f"{what}: {text!r} is not a number") from error


def checked_options(given: Mapping[str, Any], shape: type, where: str) -> dict[str, Any]:
    """`given`, if every name in it is one of the TypedDict `shape`.

    :raises GraphError: with the nearest name.
    """
    known = sorted(get_type_hints(shape))
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise GraphError(
                f"{where}: unknown option {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}")
            )
    return dict(given)


def spec_fields(options: StepOptions, where: str) -> dict[str, Any]:
    """The fields of a `StepSpec` that `options` set."""
    fields: dict[str, Any] = {
        name: value for name, value in options.items() if name in ("pool", "isolation", "idempotent", "allow_failure")
    }
    fields |= _cache_fields(options, where)
    if "resources" in options:
        fields["resources"] = _resources(options["resources"], where)
    if "retries" in options:
        fields["retries"] = _retries(options["retries"], where)
    if "timeout" in options:
        fields["timeout_seconds"] = seconds(options["timeout"], f"{where}: timeout")
    if "version" in options:
        fields["version"] = str(options["version"])
    if "env_vars" in options:
        fields["env_vars"] = {name: _variable(value) for name, value in options["env_vars"].items()}
    if "pass_env" in options:
        fields["pass_env"] = tuple(options["pass_env"])
    return fields


def _cache_fields(options: StepOptions, where: str) -> dict[str, Any]:
    if "cache" not in options:
        return {}
    cache = options["cache"]
    if isinstance(cache, bool):
        return {"cache": cache}
    return {"cache": True, "cache_seconds": seconds(cache, f"{where}: cache")}


def _variable(value: str | Secret) -> str | SecretRef:
    return SecretRef(secret=value.name, key=value.key) if isinstance(value, Secret) else value


def _resources(resources: Resources, where: str) -> ResourcesSpec:
    memory = None if resources.memory is None else memory_bytes(resources.memory, f"{where}: memory")
    return ResourcesSpec(cpu=resources.cpu, memory_bytes=memory, gpu=resources.gpu)


def _retries(retries: int | Retry, where: str) -> RetrySpec:
    if isinstance(retries, int):
        if retries < 0:
            raise GraphError(f"{where}: retries is {retries}; it can't be below zero")
        return RetrySpec(limit=retries)
    return RetrySpec(
        limit=retries.limit,
        delay_seconds=seconds(retries.delay, f"{where}: delay"),
        factor=retries.factor,
        max_delay_seconds=seconds(retries.max_delay, f"{where}: max_delay"),
        jitter=retries.jitter,
        on=tuple(retries.on),
    )
