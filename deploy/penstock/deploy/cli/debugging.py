"""A step run again in this process: its inputs as objects, its function as the project has it today, pdb where it raises."""

import importlib
import os
import pdb
import sys
import tempfile
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import FunctionTarget, StepSpec, decode_spec
from penstock.contracts.views import RunView, StepRunView
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.summary import address
from penstock.deploy.cli.trace_record import last_target_of
from penstock.deploy.cli.wiring import housekeeping
from penstock.sdk.client import EngineClient
from penstock.sdk.drawing.annotations import hints_of
from penstock.sdk.runs.state_home import project_folder
from penstock.sdk.values.codecs import decode


def debug_step_run(client: EngineClient, run: RunView, step_run: StepRunView, breakpoint_first: bool) -> ExitCode:
    """Calls the step's function with the inputs of `step_run`, in an empty folder of its own.

    :raises InvalidInput: the step is no function, never got its inputs, or its code is not in this project.
    """
    step = next(step for step in decode_spec(housekeeping(client).spec(run.run_id)).steps if step.name == step_run.step)
    if not step_run.inputs and step.inputs:
        raise InvalidInput(f"{address(step_run)} of {run.name} never got its inputs: {step_run.reason or step_run.state.value}")
    with _project_on_path(client, run):
        function = _function(step)
        hints = hints_of(function)
        with _own_folder() as folder:
            inputs: dict[str, Any] = {}
            for name, value in step_run.inputs.items():
                inputs[name] = decode(value, hints.get(name, Any), client.local, parameter=name, workdir=folder)
                sys.stdout.write(f"{name} = {_short(inputs[name])}\n")
            return _called(function, inputs, address(step_run), breakpoint_first)


def _called(function: Callable[..., Any], inputs: dict[str, Any], name: str, breakpoint_first: bool) -> ExitCode:
    try:
        returned = pdb.runcall(function, **inputs) if breakpoint_first else function(**inputs)
    except Exception:  # noqa: BLE001 -- whatever user code raises is what is being looked for
        # Without this frame: the first line shown is the user's.
        trace = sys.exc_info()[2]
        trace = trace.tb_next if trace is not None and trace.tb_next is not None else trace
        traceback.print_exception(sys.exc_info()[0], sys.exc_info()[1], trace)
        pdb.post_mortem(trace)
        return ExitCode.RUN_FAILED
    sys.stdout.write(f"{name} returned {_short(returned)}\n")
    return ExitCode.SUCCEEDED


def _function(step: StepSpec) -> Callable[..., Any]:
    if not isinstance(step.run, FunctionTarget):
        raise InvalidInput(f"{step.name!r} runs a program, which has no Python frame to look at; see: penstock logs {step.name}")
    try:
        found: Any = importlib.import_module(step.run.module)
        for part in step.run.function.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"{step.run.function} of module {step.run.module} is not in this project: {error}") from error
    function: Callable[..., Any] = getattr(found, "fn", found)
    return function


@contextmanager
def _project_on_path(client: EngineClient, run: RunView) -> Generator[None]:
    """Modules are found as the pipeline's file finds them, and from the root of its project."""
    target = last_target_of(client.home, run.pipeline)
    start = target.file if target is not None and target.file is not None else Path.cwd()
    folders = [str(start.parent if start.is_file() else start), str(project_folder(start))]
    before = list(sys.path)
    sys.path[:0] = folders
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def _own_folder() -> Generator[Path]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="penstock-debug-") as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:400]}…"
