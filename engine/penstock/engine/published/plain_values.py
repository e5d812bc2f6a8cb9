"""Plain JSON as values of a pipeline's parameters: judged by the declared types, as the text of a command line is."""

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from pydantic import ValidationError

from penstock.contracts.artifacts import ArtifactRef, ListValue, Value
from penstock.contracts.encoding import canonical
from penstock.contracts.errors import ContractError, InvalidInput
from penstock.contracts.named_artifacts import SCHEME, unresolved
from penstock.contracts.spec import ParameterSpec, PipelineSpec
from penstock.engine.value_schemas import UnusableSchema, first_problem

_REF_FIELDS = frozenset(ArtifactRef.model_fields)
_LIST_OF_FILES = re.compile(r"(list|Sequence)\[(File|Directory)\]")
_SHOWN = 80


def read_plain(spec: PipelineSpec, given: dict[str, Any]) -> dict[str, Value | bytes]:
    """What is given, by parameter: a value where artifacts are named, else the canonical bytes of the JSON.

    :raises InvalidInput: a parameter is unknown or missing, or what is given does not fit it.
    """
    known = {parameter.name: parameter for parameter in spec.parameters}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InvalidInput(f"parameters: {spec.name} has no parameter {unknown[0][:_SHOWN]!r} (it has {', '.join(known) or 'none'})")
    missing = [parameter for parameter in spec.parameters if parameter.default is None and parameter.name not in given]
    if missing:
        raise InvalidInput(f"parameters.{missing[0].name}: {spec.name} needs it ({missing[0].type})")
    return {name: _read(known[name], value) for name, value in given.items()}


def _read(parameter: ParameterSpec, value: Any) -> Value | bytes:
    if _is_ref(value) or _names_artifact(value):
        return _ref(parameter, value)
    if isinstance(value, list) and _LIST_OF_FILES.fullmatch(parameter.type):
        return ListValue(list=tuple(_ref(parameter, item) for item in cast(Sequence[Any], value)))
    if parameter.read in ("file", "directory"):
        return _ref(parameter, value)
    if parameter.read == "object":
        raise _unfit(parameter, value, f"it is an object of Python, which JSON can't hold: name an artifact ({SCHEME}NAME@ALIAS)")
    if parameter.read == "text" and not isinstance(value, str) and not (value is None and "None" in parameter.type):
        raise _unfit(parameter, value, "write text, in quotes")
    problem = _problem(parameter, value)
    if problem:
        raise _unfit(parameter, value, problem)
    try:
        return canonical(value)
    except ContractError as error:
        raise _unfit(parameter, value, str(error)) from error


def _is_ref(value: Any) -> bool:
    return isinstance(value, dict) and {"uri", "digest"} <= set(cast("dict[str, Any]", value)) <= _REF_FIELDS


def _names_artifact(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(SCHEME)


def _ref(parameter: ParameterSpec, value: Any) -> ArtifactRef:
    if _names_artifact(value):
        return unresolved(value)
    if not _is_ref(value):
        raise _unfit(parameter, value, f'name an artifact, "{SCHEME}NAME@ALIAS", or uploaded bytes, {{"uri": ..., "digest": ...}}')
    try:
        return ArtifactRef.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _unfit(parameter, value, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _problem(parameter: ParameterSpec, value: Any) -> str:
    """What the declared type has against a value; empty: nothing."""
    if parameter.schema_ is None:
        return ""
    try:
        problem = first_problem(parameter.schema_, value)
    except UnusableSchema as error:
        return f"{error}: publish the pipeline again"
    if problem is None:
        return ""
    place = "".join(f"[{part!r}]" for part in problem.path)
    return f"{problem.message}{' at ' + place if place else ''}"


def _unfit(parameter: ParameterSpec, value: Any, why: str) -> InvalidInput:
    shown = json.dumps(value, default=str)
    shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
    return InvalidInput(f"parameters.{parameter.name}: it takes {parameter.type}, and {shown} does not fit: {why}")
