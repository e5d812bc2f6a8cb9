"""Parameters of a run: from the text of a command line or a YAML file to values, judged by the pipeline's own declaration."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from penstock.contracts.artifacts import INLINE_LIMIT, JSON, ArtifactRef, Value, inline_json
from penstock.contracts.encoding import canonical
from penstock.contracts.errors import InvalidInput
from penstock.contracts.named_artifacts import SCHEME, unresolved
from penstock.contracts.spec import ParameterSpec, PipelineSpec
from penstock.sdk.client import Artifacts
from penstock.sdk.nearest import nearest_hint
from penstock.sdk.runs.remote_inputs import Origins, is_remote
from penstock.sdk.types import Directory, File


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was given for a parameter: texts in order (dotted ones by path), or one plain value from a file."""

    texts: tuple[str, ...] = ()
    fields: tuple[tuple[tuple[str, ...], str], ...] = ()
    plain: Any = None
    is_plain: bool = False
    folder: Path = Path()
    """What relative paths are relative to."""


def given_on_command_line(pairs: Sequence[str], folder: Path) -> dict[str, Given]:
    """`name=value` pairs by parameter; a repeated name keeps every text.

    :raises InvalidInput: a pair without `=`.
    """
    given: dict[str, Given] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(f"-p {pair}: write a parameter as name=value")
        name, *path = name.strip().split(".")
        before = given.get(name, Given(folder=folder))
        texts, fields = (before.texts, (*before.fields, (tuple(path), text))) if path else ((*before.texts, text), before.fields)
        given[name] = Given(texts=texts, fields=fields, folder=folder)
    return given


def given_in_file(path: Path) -> dict[str, Given]:
    """The parameters in a YAML (or JSON) file that holds a map.

    :raises InvalidInput: no such file, or not a map of names to values.
    """
    import yaml  # noqa: PLC0415 -- only those who pass --params pay for it

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"--params {path}: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"--params {path}: it holds {type(document).__name__}, not a map of parameter names to values")
    entries = cast(dict[object, Any], document)
    return {str(name): Given(plain=value, is_plain=True, folder=path.absolute().parent) for name, value in entries.items()}


def values_for(spec: PipelineSpec, given: dict[str, Given], artifacts: Artifacts, origins: Origins | None = None) -> dict[str, Value]:
    """A value for every parameter: what was given, else its default. `origins` None: data at URIs can't be given.

    :raises InvalidInput: an unknown, missing or unfit parameter; the message names it, what came and what is wanted.
    """
    known = {parameter.name: parameter for parameter in spec.parameters}
    for name in given:
        if name not in known:
            raise InvalidInput(f"{spec.name} has no parameter {name!r}{nearest_hint(name, list(known))}")
    missing = [parameter for parameter in spec.parameters if parameter.required and parameter.name not in given]
    if missing:
        wanted = ", ".join(f"{parameter.name} ({parameter.type})" for parameter in missing)
        example = " ".join(f"-p {parameter.name}=..." for parameter in missing)
        raise InvalidInput(f"{spec.name} needs a value for {wanted}; give it with {example}")
    defaults = {parameter.name: parameter.default for parameter in spec.parameters if parameter.default is not None}
    return {**defaults, **{name: _value(known[name], entry, artifacts, origins) for name, entry in given.items()}}


def _value(parameter: ParameterSpec, given: Given, artifacts: Artifacts, origins: Origins | None) -> Value:
    if (named := _named(parameter, given)) is not None:
        return named
    match parameter.read:
        case "file" | "directory":
            return _path_value(parameter, given, artifacts, origins)
        case "text":
            return _stored(_text(parameter, given), artifacts)
        case "json":
            return _stored(_checked(parameter, given), artifacts)
        case "object":
            raise InvalidInput(
                f"parameter {parameter.name!r} is a Python object ({parameter.type}); only Python code can give it: "
                f"run the pipeline with .run({parameter.name}=...), or name an artifact: -p {parameter.name}={SCHEME}NAME@ALIAS"
            )


def _named(parameter: ParameterSpec, given: Given) -> ArtifactRef | None:
    """A named artifact, which is looked up when the run starts; where text is wanted, text is meant."""
    text = given.plain if given.is_plain else given.texts[0] if len(given.texts) == 1 and not given.fields else None
    is_named = isinstance(text, str) and text.startswith(SCHEME) and parameter.read != "text"
    return unresolved(text) if is_named and isinstance(text, str) else None


def _path_value(parameter: ParameterSpec, given: Given, artifacts: Artifacts, origins: Origins | None) -> ArtifactRef:
    text = str(given.plain) if given.is_plain else _single(parameter, given)
    if is_remote(text):
        return _remote_value(parameter, text, artifacts, origins)
    path = Path(text).expanduser()
    path = path if path.is_absolute() else given.folder / path
    if not path.exists():
        raise InvalidInput(f"parameter {parameter.name!r} wants a {parameter.read}; there is nothing at {path}")
    if path.is_dir() != (parameter.read == "directory"):
        found = "a folder" if path.is_dir() else "a file"
        raise InvalidInput(f"parameter {parameter.name!r} wants a {parameter.read}; {path} is {found}")
    ref = artifacts.put_path(path)
    return ref.model_copy(update={"name": path.name}) if "KeepName" in parameter.type else ref


def _remote_value(parameter: ParameterSpec, uri: str, artifacts: Artifacts, origins: Origins | None) -> ArtifactRef:
    if origins is None:
        raise InvalidInput(f"parameter {parameter.name!r}: an inline run reads files of this machine only; download {uri} first")
    named = Directory(uri) if parameter.read == "directory" else File(uri)
    ref = origins.take(artifacts, named, parameter.name)
    return ref.model_copy(update={"name": named.path.name}) if "KeepName" in parameter.type else ref


def _text(parameter: ParameterSpec, given: Given) -> str:
    if given.is_plain:
        if not isinstance(given.plain, str):
            kind = type(given.plain).__name__
            raise InvalidInput(f"parameter {parameter.name!r} wants text; {given.plain!r} is {kind} (put it in quotes)")
        return given.plain
    return _content(_single(parameter, given), given.folder, parameter)


def _single(parameter: ParameterSpec, given: Given) -> str:
    if given.fields:
        raise InvalidInput(f"parameter {parameter.name!r} ({parameter.type}) has no fields; give it as {parameter.name}=...")
    if len(given.texts) != 1:
        raise InvalidInput(f"parameter {parameter.name!r} ({parameter.type}) takes one value; {len(given.texts)} were given")
    return given.texts[0]


def _content(text: str, folder: Path, parameter: ParameterSpec) -> str:
    """`@path` stands for what the file holds; `@@` for an `@` of its own."""
    if text.startswith("@@"):
        return text[1:]
    if not text.startswith("@"):
        return text
    try:
        return (folder / Path(text[1:]).expanduser()).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"parameter {parameter.name!r}: can't read {text[1:]}: {error}") from error


def _checked(parameter: ParameterSpec, given: Given) -> Any:
    if given.is_plain:
        return _fit(parameter, [given.plain])
    texts = [_content(text, given.folder, parameter) for text in given.texts]
    if given.fields:
        return _fit(parameter, [_with_fields(parameter, given, texts)])
    if len(texts) > 1:
        return _fit(parameter, [[_json_or_text(text) for text in texts], texts])
    (text,) = texts
    value = _json_or_text(text)
    # A text that is no JSON, or wanted as text (a date, a literal); or the only item of a list.
    return _fit(parameter, [value, text, [value], [text]])


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _with_fields(parameter: ParameterSpec, given: Given, texts: list[str]) -> Any:
    default = parameter.default
    base: Any = default.json_value() if isinstance(default, ArtifactRef) and default.is_inline else {}
    if texts:
        base = _json_or_text(texts[-1])
    value: dict[str, Any] = json.loads(json.dumps(base)) if isinstance(base, dict) else {}
    for path, text in given.fields:
        place = value
        for key in path[:-1]:
            inner = place.setdefault(key, {})
            if not isinstance(inner, dict):
                raise InvalidInput(f"parameter {parameter.name!r}: {key!r} has no fields")
            place = cast(dict[str, Any], inner)
        place[path[-1]] = _json_or_text(_content(text, given.folder, parameter))
    return value


def _fit(parameter: ParameterSpec, candidates: list[Any]) -> Any:
    """The first candidate that the declaration accepts; without a schema, the first."""
    if parameter.schema_ is None:
        return candidates[0]
    from jsonschema import Draft202012Validator  # noqa: PLC0415 -- heavy, and only parameters that were given need it
    from referencing import Registry  # noqa: PLC0415 -- as above

    # A schema that refers to another document refers to nothing: nothing is fetched for it.
    validator: Any = Draft202012Validator(parameter.schema_, registry=Registry())
    for candidate in candidates:
        if validator.is_valid(candidate):
            return candidate
    problem = next(validator.iter_errors(candidates[0]))
    place = "".join(f"[{part!r}]" for part in problem.absolute_path)
    where = f" at {parameter.name}{place}" if place else ""
    came = json.dumps(candidates[0], default=str)
    raise InvalidInput(f"parameter {parameter.name!r} wants {parameter.type}; {came} does not fit{where}: {problem.message}")


def _stored(value: Any, artifacts: Artifacts) -> Value:
    data = canonical(value)
    return inline_json(data) if len(data) <= INLINE_LIMIT else artifacts.put_bytes(data, media_type=JSON, suffix=".json")
