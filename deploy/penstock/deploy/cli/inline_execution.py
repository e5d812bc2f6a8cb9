"""A pipeline run in this process, without engine and cache: for debuggers, and for looking at what happens."""

import json
import pdb
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from penstock.contracts.artifacts import Value
from penstock.contracts.errors import InvalidInput
from penstock.contracts.named_artifacts import is_reference
from penstock.contracts.states import RunState
from penstock.contracts.views import StepRunView
from penstock.deploy.cli.exits import ExitCode, code_of_run
from penstock.deploy.cli.local_artifacts import LocalArtifacts
from penstock.deploy.cli.parameters import Given, values_for
from penstock.deploy.cli.run_execution import save
from penstock.deploy.cli.run_json import plain_value, run_document
from penstock.deploy.cli.summary import address
from penstock.deploy.cli.targets import Target
from penstock.deploy.user_secrets import secret_of_user
from penstock.runners.pipeline_files import Drawn, Entry, drawn_entry
from penstock.runners.step_variables import step_variables
from penstock.sdk.inline.run import InlineRun
from penstock.sdk.inline.surroundings import Surroundings
from penstock.sdk.nearest import nearest_hint
from penstock.sdk.values.codecs import decode

_SHOWN = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineRequest:
    """What of the options of a run has a meaning without an engine."""

    with_debugger: bool
    as_json: bool
    save: dict[str, Path]


def execute_inline(target: Target, given: dict[str, Given], request: InlineRequest) -> ExitCode:
    """Imports the pipeline's file into this process and runs every step of it, one after the other.

    :raises GraphError: the pipeline can't be built.
    :raises InvalidInput: a parameter does not fit, or there is no output to save.
    """
    drawn = drawn_entry(Entry(file=str(target.file) if target.file else None, module=target.module, pipeline=target.pipeline))
    _known_outputs(drawn, request)
    with tempfile.TemporaryDirectory(prefix="penstock-inline-") as folder:
        artifacts = LocalArtifacts(Path(folder), drawn.drawing.constants.blobs)
        values = values_for(drawn.spec, given, artifacts)
        for name, value in values.items():
            if is_reference(value):
                raise InvalidInput(
                    f"parameter {name!r}: an inline run has no engine that knows named artifacts; give a file of this machine"
                )
        parameters = {name: decode(value, drawn.hints.get(name, Any), artifacts.local, parameter=name) for name, value in values.items()}
        teller = _Teller(sys.stderr if request.as_json else sys.stdout, request.with_debugger)
        around = Surroundings(told=teller.tell, variables=lambda step: step_variables(step, secret_of_user)[0])
        run = InlineRun(drawn.drawing, drawn.spec, parameters, drawn.hints.get("return", Any), {}, around)
        return _concluded(run, artifacts, teller, request)


def _known_outputs(drawn: Drawn, request: InlineRequest) -> None:
    for name in request.save:
        if name not in drawn.spec.outputs:
            raise InvalidInput(f"--save: {drawn.spec.name} has no output {name!r}{nearest_hint(name, list(drawn.spec.outputs))}")


def _concluded(run: InlineRun, artifacts: LocalArtifacts, teller: "_Teller", request: InlineRequest) -> ExitCode:
    view = run.view()
    values: dict[str, Value] = {}
    if view.state is RunState.SUCCEEDED:
        for name, value in run.named_outputs().items():
            teller.say(f"{name} = {_short(value)}")
            if request.as_json or name in request.save:
                values[name] = artifacts.put_object(value)
        for name, path in request.save.items():
            teller.say(save(artifacts, values[name], path))
    teller.say(f"{view.name} {view.state}: {len(teller.ended)} step runs in this process")
    if request.as_json:
        outputs = {name: plain_value(value) for name, value in values.items()}
        sys.stdout.write(json.dumps(run_document(view, teller.ended, outputs), ensure_ascii=False) + "\n")
    return code_of_run(view.state)


@dataclass(slots=True)
class _Teller:
    """Says how each step run ended, and opens the debugger where one failed."""

    stream: TextIO
    with_debugger: bool
    ended: list[StepRunView] = field(default_factory=list[StepRunView])

    def tell(self, view: StepRunView, error: Exception | None) -> None:
        self.ended.append(view)
        if error is None:
            self.say(f"{address(view)}  {view.state}" + (f" ({view.reason})" if view.reason else ""))
            return
        told: Sequence[str] = [view.failure.traceback] if view.failure is not None else traceback.format_exception(error)
        self.say("".join(told).rstrip())
        self.say(f"{address(view)}  {view.state}")
        if self.with_debugger:
            pdb.post_mortem(error.__traceback__)

    def say(self, text: str) -> None:
        self.stream.write(text + "\n")
        self.stream.flush()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
