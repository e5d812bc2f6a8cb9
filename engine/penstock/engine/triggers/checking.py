"""What can be known of a trigger before any event comes: its expressions, schedules and URIs, and how it fits the pipeline's parameters."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import ParameterSpec, PipelineSpec
from penstock.contracts.triggers import AllSource, CronSource, OnDataSource, OnEventSource, OnRunSource, Single, TriggerSpec
from penstock.engine.triggers.expressions import compiled
from penstock.engine.triggers.mapping import accepts_none, expressions_of, fitting, is_list_of_files, takes_files, told_per
from penstock.engine.triggers.schedules import check_schedule
from penstock.engine.triggers.scope import EVENT

_WILD = re.compile(r"[*?\[\]]")
_DATA_URI = re.compile(r"^[a-z][a-z0-9+.-]*://")
_CREDENTIALS = re.compile(r"^[a-z][a-z0-9+.-]*://[^/]*@")


def check_trigger(spec: TriggerSpec, pipeline: PipelineSpec) -> None:
    """
    :raises InvalidInput: an expression, name, schedule or URI that can't work; the text says where and what to do.
    """
    try:
        for source in spec.sources:
            check_source(source)
        _check_holding(spec)
        _check_keys(spec)
        _check_parameters(spec, pipeline)
        _check_data(spec, pipeline)
    except InvalidInput as error:
        raise type(error)(f"trigger {spec.name!r}: {error}") from error


def check_source(source: Single) -> None:
    """What can be known of one source without a pipeline.

    :raises InvalidInput: it can't work.
    """
    match source:
        case OnEventSource():
            _check_pattern("type", source.type)
            if source.source is not None:
                _check_pattern("source", source.source)
            _check_where(source.where)
        case OnRunSource():
            if not source.states:
                raise InvalidInput(f"it waits for runs of {source.pipeline} that end in none of the states; name one, as `succeeded`")
            _check_where(source.where)
        case CronSource():
            check_schedule(source)
        case OnDataSource():
            _check_uri(source)


def _check_pattern(what: str, pattern: str) -> None:
    if "*" in pattern[:-1]:
        raise InvalidInput(f"the {what} {pattern!r} has `*` inside; it stands for the rest, at the end")


def _check_where(where: str | None) -> None:
    if where is None:
        return
    program = compiled(where, "where", (EVENT,))
    constant = program.constant()
    if constant is not None and not isinstance(constant[0], bool):
        raise InvalidInput(f"where `{where}`: it is {constant[0]!r}, not true or false; compare it with something")


def _check_holding(spec: TriggerSpec) -> None:
    for what, policy in (("debounce", spec.debounce), ("batch", spec.batch)):
        if isinstance(spec.on, AllSource) and policy is not None:
            raise InvalidInput(f"a join decides itself which events make a run together; leave {what} out, or say policy='batch'")


def _check_keys(spec: TriggerSpec) -> None:
    keys: dict[str, str | None] = {
        "dedupe key": spec.dedupe,
        "debounce key": None if spec.debounce is None else spec.debounce.key,
        "batch key": None if spec.batch is None else spec.batch.key,
        "join key": spec.on.key if isinstance(spec.on, AllSource) else None,
        "concurrency key": None if spec.concurrency is None else spec.concurrency.key,
    }
    for what, expression in keys.items():
        if expression is not None:
            compiled(expression, what).constant()


def _check_parameters(spec: TriggerSpec, pipeline: PipelineSpec) -> None:
    known = {parameter.name: parameter for parameter in pipeline.parameters}
    expressions = expressions_of(spec, pipeline)
    for name, expression in expressions.items():
        if name not in known:
            raise InvalidInput(f"{pipeline.name} has no parameter {name!r}{_hint(name, list(known))}")
        _check_parameter(known[name], expression)
    missing = [parameter for parameter in pipeline.parameters if parameter.required and parameter.name not in expressions]
    if missing:
        wanted = ", ".join(f"{parameter.name} ({parameter.type})" for parameter in missing)
        example = f'parameters={{"{missing[0].name}": "event.data.{missing[0].name}"}}'
        raise InvalidInput(f"{pipeline.name} needs a value for {wanted}; map one to it, as {example}")


def _check_parameter(parameter: ParameterSpec, expression: str) -> None:
    if parameter.read == "object" and not is_list_of_files(parameter):
        raise InvalidInput(
            f"parameter {parameter.name!r} is a Python object ({parameter.type}), which no event can hold; give it a default"
        )
    constant = compiled(expression, f"parameter {parameter.name!r}").constant()
    if constant is None:
        return
    if takes_files(parameter):
        _check_uris(parameter, constant[0])
    else:
        fitting(parameter, constant[0])


def _check_uris(parameter: ParameterSpec, value: Any) -> None:
    is_fit = isinstance(value, list) if is_list_of_files(parameter) else isinstance(value, str)
    if not is_fit and not (value is None and accepts_none(parameter)):
        wanted = "a list of URIs" if is_list_of_files(parameter) else f"the URI of a {parameter.read}"
        raise InvalidInput(f"parameter {parameter.name!r} wants {wanted}; {value!r} is none")


def _check_uri(source: OnDataSource) -> None:
    uri = source.uri
    if not _DATA_URI.match(uri):
        raise InvalidInput(f"the data's URI {uri!r} has no scheme; write it as s3://bucket/folder/*.csv, or file:///folder/*.csv")
    if _CREDENTIALS.match(uri):
        raise InvalidInput(f"the data's URI {uri.split('://')[0]}://...@... holds credentials; declare them for the datastore instead")
    place, _, last = uri.rpartition("/")
    if _WILD.search(place):
        raise InvalidInput(f"the data's URI {uri!r} has a wildcard in a folder; only its last part may have one, as s3://lake/daily/*.csv")
    if ".." in place.split("/") or last == "..":
        raise InvalidInput(f"the data's URI {uri!r} has `..` in it; write where it leads to")
    if place.count("/") < 2:
        raise InvalidInput(f"the data's URI {uri!r} names no folder; write it as s3://bucket/folder/")


def _check_data(spec: TriggerSpec, pipeline: PipelineSpec) -> None:
    """Changed objects are told as the parameter that they go to takes them."""
    expressions = expressions_of(spec, pipeline)
    for source in spec.sources:
        if not isinstance(source, OnDataSource):
            continue
        if told_per(source, spec, pipeline) == "prefix" and _WILD.search(source.uri):
            raise InvalidInput(f"the folder {source.uri!r} as a whole can't have wildcards; leave out its last part, or say per='batch'")
        for parameter in pipeline.parameters:
            _check_told(source, parameter, expressions.get(parameter.name, "").replace(" ", ""), told_per(source, spec, pipeline))


def _check_told(source: OnDataSource, parameter: ParameterSpec, expression: str, per: str) -> None:
    if expression == "event.data.uri" and per == "batch":
        raise InvalidInput(
            f"changes at {source.uri} come as a batch, which has event.data.uris; {parameter.name!r} is mapped to event.data.uri"
        )
    if expression == "event.data.uris" and per != "batch":
        raise InvalidInput(f"changes at {source.uri} come one by one; for event.data.uris in {parameter.name!r} say per='batch'")


def _hint(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; it has {', '.join(known)}" if known else "; it has none"
