"""From a pipeline and given parameters to a run of an engine: store what is needed, then submit."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from penstock.contracts.artifacts import Value
from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import RunOptions as SubmittedOptions
from penstock.contracts.messages import SubmitRun
from penstock.contracts.named_artifacts import SCHEME, unresolved
from penstock.contracts.spec import PipelineSpec, StepSpec, encode_spec
from penstock.sdk.client import EngineClient
from penstock.sdk.drawing.annotations import accepts_none, bare
from penstock.sdk.drawing.parameters import checked_value
from penstock.sdk.drawing.traced import Traced
from penstock.sdk.environments.software import with_software
from penstock.sdk.nearest import nearest_hint
from penstock.sdk.options import RunOptions, StepOptions, seconds, spec_fields
from penstock.sdk.runs.remote_inputs import Origins, is_remote, local_copies
from penstock.sdk.runs.run_ids import new_run_id
from penstock.sdk.types import Directory, File, KeepName
from penstock.sdk.values.codecs import encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """`values` are the parameters that were given; `hints` the annotations of all."""

    traced: Traced
    values: Mapping[str, Any]
    hints: Mapping[str, Any]
    options: RunOptions


def submit(client: EngineClient, submission: Submission) -> str:
    """Submits the run; gives its id.

    :raises InvalidInput: a parameter or option can't be used.
    """
    spec = with_software(submission.traced.spec, submission.traced.software, client)
    spec = _overridden(spec, submission.options.get("overrides", {}))
    options = _options(spec, submission.options)
    origins = Origins(client.home)
    parameters = _parameters(client, spec, submission, origins)
    for staged in submission.traced.blobs.values():
        client.put_path(Path(staged))
    files = {inside: Path(path) for inside, path in submission.traced.files.items()}
    if files:
        spec = spec.model_copy(update={"snapshot": client.put_snapshot(files)})
    request = SubmitRun(
        run_id=new_run_id(),
        spec=encode_spec(spec),
        parameters=parameters,
        name=submission.options.get("name"),
        tags={**origins.tags, **submission.options.get("tags", {})},
        experiment=submission.options.get("experiment"),
        options=options,
    )
    return client.submit(request).run_id


def _parameters(client: EngineClient, spec: PipelineSpec, submission: Submission, origins: Origins) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for parameter in spec.parameters:
        name = parameter.name
        if name in submission.values:
            hint = submission.hints.get(name, Any)
            given = submission.values[name]
            is_named = isinstance(given, File | Directory) and given.uri.startswith(SCHEME)
            values[name] = unresolved(given.uri) if is_named else stored(client, checked_value(name, given, hint), hint, name, origins)
        elif parameter.default is not None:
            values[name] = parameter.default
        elif parameter.required:
            raise InvalidInput(f"{spec.name} needs the parameter {name!r} ({parameter.type})")
    return values


def stored(client: EngineClient, value: Any, hint: Any, name: str, origins: Origins) -> Value:
    """A value in the engine's artifact store; data at a URI is read now, once.

    :raises InvalidInput: it can't be read or stored.
    """
    if value is None and accepts_none(hint):
        return encode(None, Any, Path()).value
    if isinstance(value, str) and bare(hint) in (File, Directory):
        value = bare(hint)(value)
    if isinstance(value, File | Directory):
        if is_remote(value.uri):
            ref = origins.take(client, value, name)
        else:
            ref = client.put_path(checked_local(value, f"the parameter {name!r}"))
        return ref.model_copy(update={"name": value.path.name}) if KeepName in get_args(hint) else ref
    with tempfile.TemporaryDirectory(prefix="penstock-parameter-") as staging:
        encoded = encode(local_copies(value, Path(staging), f"the parameter {name!r}"), hint, Path(staging))
        for staged in encoded.files:
            client.put_path(staged.path)
        return encoded.value


def checked_local(named: File | Directory, what: str) -> Path:
    """The absolute path of a file or directory of this machine.

    :raises InvalidInput: it is remote or missing, or of the other kind.
    """
    if named.is_remote:
        raise InvalidInput(f"{what}: {named!r} is remote; an inline run reads files of this machine only: download it first")
    path = named.path.expanduser().absolute()
    if path.is_file() if isinstance(named, File) else path.is_dir():
        return path
    found = (
        "it is a directory; write Directory(...)"
        if path.is_dir()
        else "it is a file; write File(...)"
        if path.is_file()
        else "nothing is there"
    )
    raise InvalidInput(f"{what}: {named!r} can't be read: {found} (looked at {path})")


def _options(spec: PipelineSpec, options: RunOptions) -> SubmittedOptions:
    rerun = options.get("rerun", ())
    names = (rerun,) if isinstance(rerun, str) else tuple(rerun)
    until = options.get("until")
    _known_steps(spec, [name for name in names if name != "all"], "rerun=")
    _known_steps(spec, [] if until is None else [until], "until=")
    return SubmittedOptions(
        keep_going=options.get("keep_going", False),
        rerun=names,
        until=until,
        priority=options.get("priority", 0),
        timeout_seconds=seconds(options["timeout"], "timeout") if "timeout" in options else None,
        max_parallel=options.get("max_parallel"),
    )


def _overridden(spec: PipelineSpec, overrides: Mapping[str, StepOptions]) -> PipelineSpec:
    """The spec with other options for some steps."""
    if not overrides:
        return spec
    _known_steps(spec, list(overrides), "overrides=")
    nodes = tuple(
        node.model_copy(update=spec_fields(overrides[node.name], f"overrides of {node.name!r}"))
        if isinstance(node, StepSpec) and node.name in overrides
        else node
        for node in spec.nodes
    )
    return spec.model_copy(update={"nodes": nodes})


def _known_steps(spec: PipelineSpec, names: list[str], what: str) -> None:
    known = [step.name for step in spec.steps]
    for name in names:
        if name not in known:
            raise InvalidInput(f"{what}: {spec.name} has no step {name!r}{nearest_hint(name, known)}")
