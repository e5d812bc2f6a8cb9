"""From a pipeline and its values to a run that has ended: submit, show, save, and the exit code."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.encoding import canonical
from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import Cause, RunOptions, SubmitRun
from penstock.contracts.spec import PipelineSpec, encode_spec
from penstock.contracts.states import RunState
from penstock.contracts.views import RunView
from penstock.deploy.cli.bare_script import put_back
from penstock.deploy.cli.exits import ExitCode, code_of_run
from penstock.deploy.cli.following import display_for, follow_run
from penstock.deploy.cli.run_json import run_json
from penstock.deploy.cli.summary import failure_lines, header_lines, next_line, output_lines, summary_lines
from penstock.sdk.client import Artifacts, EngineClient
from penstock.sdk.nearest import nearest_hint
from penstock.sdk.runs.run_ids import new_run_id


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What the user asked for beside the pipeline and its parameters."""

    name: str | None = None
    tags: Mapping[str, str]
    options: RunOptions = field(default_factory=RunOptions)
    cause: Cause = field(default_factory=Cause)
    save: Mapping[str, Path]
    as_json: bool = False
    warnings: Sequence[str] = ()
    put_back: str | None = None
    """An output whose files go to the current folder: what a plain script wrote."""


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """`key=value` texts as a map.

    :raises InvalidInput: one has no `=`.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidInput(f"{option} {text}: write it as key=value")
        found[key] = value
    return found


def checked_options(
    spec: PipelineSpec, *, until: str | None, rerun: Sequence[str], settings: Sequence[str], keep_going: bool
) -> RunOptions:
    """Options whose step names exist.

    :raises InvalidInput: an unknown step or setting, with the nearest that exists.
    """
    steps = [step.name for step in spec.steps]
    pools: dict[str, str] = {}
    for key, value in pairs(settings, "--set").items():
        step, _, setting = key.rpartition(".")
        if setting != "pool" or not step:
            raise InvalidInput(f"--set {key}={value}: a step's pool can be set, as --set train.pool=gpu")
        pools[step] = value
    named = [("--until", until)] if until else []
    for option, name in [*named, *(("--rerun", name) for name in rerun if name != "all"), *(("--set", name) for name in pools)]:
        if name not in steps:
            raise InvalidInput(f"{option}: {spec.name} has no step {name!r}{nearest_hint(name, steps)}")
    return RunOptions(keep_going=keep_going, rerun=tuple(rerun), until=until, pools=pools)


def execute(client: EngineClient, spec: PipelineSpec, values: Mapping[str, Value], request: RunRequest) -> ExitCode:
    """Submits the run, follows it to its end and says everything there is to say.

    :raises InvalidInput: an output to save that the pipeline does not have.
    """
    for name in request.save:
        if name not in spec.outputs:
            raise InvalidInput(f"--save: {spec.name} has no output {name!r}{nearest_hint(name, list(spec.outputs))}")
    submitted = client.submit(
        SubmitRun(
            run_id=new_run_id(),
            spec=encode_spec(spec),
            parameters=dict(values),
            name=request.name,
            tags=dict(request.tags),
            cause=request.cause,
            options=request.options,
        )
    )
    display = display_for(request.as_json)
    for line in [*header_lines(submitted, spec, values, client), *(f"note: {text}" for text in request.warnings), ""]:
        display.note(line)
    view, was_interrupted = follow_run(client, submitted, display)
    return conclude(client, view, request, was_interrupted)


def conclude(client: EngineClient, view: RunView, request: RunRequest, was_interrupted: bool) -> ExitCode:
    """Prints how a run ended, saves what is wanted, and gives the exit code."""
    stream = sys.stderr if request.as_json else sys.stdout
    lines = [*failure_lines(view, client), *summary_lines(view, client)]
    if view.state is RunState.SUCCEEDED:
        lines += output_lines(view.outputs) if request.put_back is None else _put_back(client, view, request.put_back)
        lines += [save(client, view.outputs[name], path) for name, path in request.save.items() if name in view.outputs]
    hint = next_line(view, was_interrupted)
    stream.write("\n".join(["", *lines, *([hint] if hint else [])]) + "\n")
    stream.flush()
    if request.as_json:
        sys.stdout.write(run_json(view, client) + "\n")
    return ExitCode.INTERRUPTED if was_interrupted else code_of_run(view.state)


def _put_back(client: EngineClient, view: RunView, output: str) -> list[str]:
    files = view.outputs[output]
    return [f"wrote {path}" for path in put_back(client, files, Path.cwd())] if isinstance(files, ArtifactRef) else []


def save(artifacts: Artifacts, value: Value, path: Path) -> str:
    """Copies an output to `path` and says so: a file or folder as it is, any other value as JSON.

    :raises InvalidInput: it is made of several artifacts, or can't be written there.
    """
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        if isinstance(value, ArtifactRef) and not value.is_inline:
            source = artifacts.local(value)
            if source.is_dir():
                shutil.copytree(source, path, dirs_exist_ok=True, copy_function=shutil.copyfile)
            else:
                target = path / (value.name or f"artifact{value.suffix}") if path.is_dir() else path
                shutil.copyfile(source, target)
        elif isinstance(value, ArtifactRef):
            path.write_bytes(canonical(value.json_value()) + b"\n")
        else:
            raise InvalidInput(f"can't save to {path}: this output is made of several artifacts; save the parts (penstock artifacts ls)")
    except OSError as error:
        raise InvalidInput(f"can't save to {path}: {error}") from error
    return f"saved {path}"
