"""From events to the parameters of a run: expressions evaluated, values judged by the pipeline's own declaration.

`event` is the last of `events`. Those of a join are in the order of its sources, and of one source in the order in which they came;
those of a batch in the order in which they came.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, Literal

from penstock.contracts.artifacts import NULL, Value, inline_json
from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.encoding import canonical
from penstock.contracts.errors import ContractError, InvalidInput
from penstock.contracts.spec import ParameterSpec, PipelineSpec
from penstock.contracts.triggers import AnySource, OnDataSource, TriggerSpec
from penstock.engine.triggers.expressions import ExpressionError, compiled
from penstock.engine.triggers.matching import concurrency_key_of
from penstock.engine.triggers.scope import Scope

VALUE_LIMIT = 64 * 1024
"""Bytes of a mapped value in JSON: it travels with the run."""
FetchKind = Literal["file", "directory"]
_LIST_OF_FILES = re.compile(r"^(list|tuple|Sequence)\[(File|Directory)(, \.\.\.)?\]( \| None)?$")
_URI = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:/{0,3}[^\s/]")
_NONE = re.compile(r"\bNone\b|\bOptional\[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Data that is to be fetched before the run begins. `mark`: the ETag or digest that it had when it was noticed, where known."""

    uri: str
    kind: FetchKind
    mark: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    reason: str


Parameter = Value | Fetch | tuple[Fetch, ...]


@dataclass(frozen=True, slots=True)
class Mapped:
    parameters: dict[str, Parameter]


def mapped(spec: TriggerSpec, pipeline: PipelineSpec, events: Sequence[CloudEvent]) -> Mapped | Refused:
    """A value for every parameter: what is mapped to it, else its default."""
    scope = Scope(events)
    known = {parameter.name: parameter for parameter in pipeline.parameters}
    found: dict[str, Parameter] = {name: one.default for name, one in known.items() if one.default is not None}
    try:
        for name, expression in expressions_of(spec, pipeline).items():
            if name not in known:
                return Refused(f"{pipeline.name} has no parameter {name!r}")
            found[name] = _parameter(known[name], compiled(expression, f"parameter {name!r}").value(scope), _marks(events))
    except InvalidInput as error:
        return Refused(str(error))
    missing = [name for name, one in known.items() if one.required and name not in found]
    return Refused(f"{pipeline.name} needs a value for {', '.join(missing)}, which nothing is mapped to") if missing else Mapped(found)


def concurrency_key(spec: TriggerSpec, events: Sequence[CloudEvent]) -> str | Refused:
    """The key of the concurrency policy for events that make a run together; empty where there is none."""
    try:
        return concurrency_key_of(spec, events)
    except ExpressionError as error:
        return Refused(str(error))


def expressions_of(spec: TriggerSpec, pipeline: PipelineSpec) -> dict[str, str]:
    """The expressions by parameter. Of a trigger on data that maps nothing, the data goes to the first parameter that takes files."""
    if spec.parameters:
        return dict(spec.parameters)
    target = _target(spec, pipeline)
    if target is None:
        return {}
    return {target.name: "event.data.uris" if is_list_of_files(target) else "event.data.uri"}


def told_per(source: OnDataSource, spec: TriggerSpec, pipeline: PipelineSpec) -> Literal["object", "batch", "prefix"]:
    """How changed objects become events, where the trigger may leave it to the parameter that they go to."""
    if source.per is not None:
        return source.per
    target = _target(spec, pipeline)
    if target is None or not takes_files(target):
        return "object"
    return "batch" if is_list_of_files(target) else "prefix" if target.read == "directory" else "object"


def takes_files(parameter: ParameterSpec) -> bool:
    """Whether it receives files or folders rather than plain values."""
    return parameter.read in ("file", "directory") or is_list_of_files(parameter)


def is_list_of_files(parameter: ParameterSpec) -> bool:
    return _LIST_OF_FILES.match(parameter.type) is not None


def fitting(parameter: ParameterSpec, value: Any) -> Any:
    """`value` as the parameter takes it; where it wants a date, that of a time.

    :raises InvalidInput: it does not fit; the text says what is wanted and what came.
    """
    match parameter.read:
        case "text":
            if isinstance(value, str) or (value is None and accepts_none(parameter)):
                return value
            raise InvalidInput(f"parameter {parameter.name!r} wants text; {_shown(value)} came: string(...) makes text of it")
        case "json":
            return _by_schema(parameter, value)
        case _:
            raise InvalidInput(f"parameter {parameter.name!r} is a Python object ({parameter.type}), which no event can hold")


def accepts_none(parameter: ParameterSpec) -> bool:
    return _NONE.search(parameter.type) is not None


def _target(spec: TriggerSpec, pipeline: PipelineSpec) -> ParameterSpec | None:
    """The parameter that the data of a trigger on data goes to."""
    sources = spec.sources if isinstance(spec.on, AnySource) else (spec.on,)
    if not all(isinstance(source, OnDataSource) for source in sources):
        sources = tuple(source for source in spec.sources if isinstance(source, OnDataSource))
        if not sources or not spec.parameters:
            return None
    takers = [one for one in pipeline.parameters if takes_files(one)]
    if not spec.parameters:
        return takers[0] if takers else None
    return next((one for one in takers if "event" in spec.parameters.get(one.name, "")), None)


def _parameter(parameter: ParameterSpec, value: Any, marks: dict[str, str]) -> Parameter:
    if not takes_files(parameter):
        return _inline(parameter, fitting(parameter, value))
    if value is None and accepts_none(parameter):
        return NULL
    if is_list_of_files(parameter):
        kind: FetchKind = "directory" if "Directory" in parameter.type else "file"
        match value:
            case [*items]:
                return tuple(_fetch(parameter, item, kind, marks) for item in items)
            case _:
                raise InvalidInput(f"parameter {parameter.name!r} wants a list of URIs; {_shown(value)} came")
    return _fetch(parameter, value, "directory" if parameter.read == "directory" else "file", marks)


def _fetch(parameter: ParameterSpec, value: Any, kind: FetchKind, marks: dict[str, str]) -> Fetch:
    if not isinstance(value, str) or not _URI.match(value):
        raise InvalidInput(f"parameter {parameter.name!r} wants the URI of a {kind}, as s3://bucket/key; {_shown(value)} came")
    return Fetch(uri=value, kind=kind, mark=marks.get(value))


def _marks(events: Sequence[CloudEvent]) -> dict[str, str]:
    """What the events tell of the objects that they name."""
    marks: dict[str, str] = {}
    for event in events:
        match event.data:
            case {"uri": str(uri), "mark": str(mark)}:
                marks[uri] = mark
            case {"marks": {**several}}:
                marks.update({str(uri): str(mark) for uri, mark in several.items()})
            case _:
                pass
    return marks


def _inline(parameter: ParameterSpec, value: Any) -> Value:
    try:
        data = canonical(value)
    except ContractError as error:
        raise InvalidInput(f"parameter {parameter.name!r}: {error}") from error
    if len(data) > VALUE_LIMIT:
        raise InvalidInput(
            f"parameter {parameter.name!r}: a value of {len(data)} bytes came, {VALUE_LIMIT} at most; let the event name a file"
        )
    return inline_json(data)


def _by_schema(parameter: ParameterSpec, value: Any) -> Any:
    if parameter.schema_ is None:
        return value
    from penstock.engine.value_schemas import first_problem  # noqa: PLC0415 -- heavy, and only mapped parameters need it

    formats = _dates_and_times()
    problem = first_problem(parameter.schema_, value, formats)
    if problem is None:
        return value
    date_of = _date_in(value)
    if date_of is not None and first_problem(parameter.schema_, date_of, formats) is None:
        return date_of
    place = "".join(f"[{part!r}]" for part in problem.path)
    where = f" at {parameter.name}{place}" if place else ""
    raise InvalidInput(f"parameter {parameter.name!r} wants {parameter.type}; {_shown(value)} does not fit{where}: {problem.message}")


@cache
def _dates_and_times() -> Any:
    from jsonschema import FormatChecker  # noqa: PLC0415 -- as above

    checker = FormatChecker(formats=())
    for name, read in (("date", date.fromisoformat), ("date-time", datetime.fromisoformat)):
        checker.checkers = {**checker.checkers, name: (_reads(read), ValueError)}
    return checker


def _reads(read: Any) -> Any:
    def fits(value: object) -> bool:
        return not isinstance(value, str) or bool(read(value))

    return fits


def _date_in(value: Any) -> str | None:
    """The date of a time, where it was: that of a schedule is in its zone."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).date().isoformat()
    except ValueError:
        return None


def _shown(value: Any) -> str:
    text = canonical(value).decode("utf-8", "replace")
    return text if len(text) <= 120 else text[:117] + "..."
