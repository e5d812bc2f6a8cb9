"""A step run again in this process: its inputs as objects, its variables and seed as they were, pdb where its function raises.

The function is the one that the project has today. A program gets a shell beside its files and inputs instead.
"""

import asyncio
import importlib
import inspect
import os
import pdb
import sys
import tempfile
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.errors import ArtifactLost, InvalidInput
from penstock.contracts.spec import FunctionTarget, PipelineSpec, StepSpec, decode_spec
from penstock.contracts.views import RunView, StepRunView
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.program_shell import open_shell
from penstock.deploy.cli.summary import address
from penstock.deploy.cli.trace_record import last_target_of
from penstock.deploy.cli.wiring import housekeeping
from penstock.deploy.user_secrets import secret_of_user
from penstock.runners.idempotency import idempotency_key
from penstock.runners.randomness import seed_everything
from penstock.runners.step_variables import step_variables
from penstock.sdk.client import EngineClient
from penstock.sdk.context import CurrentRun, Identity, Record, bound_run
from penstock.sdk.drawing.annotations import hints_of
from penstock.sdk.inline.surroundings import variables_set
from penstock.sdk.runs.state_home import project_folder
from penstock.sdk.values.codecs import decode


def debug_step_run(client: EngineClient, run: RunView, step_run: StepRunView, breakpoint_first: bool) -> ExitCode:
    """Calls the step's function with the inputs of `step_run`, or opens a shell, in an empty folder of its own.

    :raises InvalidInput: the step never got its inputs, one of them is gone, or its code is not in this project.
    """
    spec = decode_spec(housekeeping(client).spec(run.run_id))
    step = next(step for step in spec.steps if step.name == step_run.step)
    if not step_run.inputs and step.inputs:
        raise InvalidInput(f"{address(step_run)} of {run.name} never got its inputs: {step_run.reason or step_run.state.value}")
    variables, _ = step_variables(step, secret_of_user)

    def local(ref: ArtifactRef) -> Path:
        try:
            return client.local(ref)
        except ArtifactLost as error:
            raise InvalidInput(
                f"an input of {address(step_run)} is gone from the artifact store ({ref.digest}); "
                f"run the pipeline again, which makes it anew, and debug that run"
            ) from error

    with variables_set(variables), _project_on_path(client, run), _own_folder() as folder:
        if not isinstance(step.run, FunctionTarget):
            return open_shell(step, step_run, _snapshot(step, spec, local), local)
        function = _function(step, step.run)
        hints = hints_of(function)
        inputs: dict[str, Any] = {}
        for name, value in step_run.inputs.items():
            inputs[name] = decode(value, hints.get(name, Any), local, parameter=name, workdir=folder)
            sys.stdout.write(f"{name} = {_short(inputs[name])}\n")
        with bound_run(_current_run(run, step_run)):
            return _called(function, inputs, address(step_run), breakpoint_first)


def _snapshot(step: StepSpec, spec: PipelineSpec, local: Callable[[ArtifactRef], Path]) -> Path | None:
    snapshot = step.snapshot or spec.snapshot
    return local(snapshot) if snapshot is not None else None


def _current_run(run: RunView, step_run: StepRunView) -> CurrentRun:
    """As the runner makes it, but that nothing that is said is kept."""
    identity = Identity(
        run_id=run.run_id,
        index=step_run.index,
        attempt=len(step_run.attempts) or 1,
        seed=seed_everything(step_run.key or ""),
        idempotency_key=idempotency_key(run.run_id, step_run.step, step_run.index),
    )
    return CurrentRun(identity, Record())


def _called(function: Callable[..., Any], inputs: dict[str, Any], name: str, breakpoint_first: bool) -> ExitCode:
    code = getattr(function, "__code__", None)
    positional = [inputs.pop(known) for known in (code.co_varnames[: code.co_posonlyargcount] if code else ()) if known in inputs]
    try:
        returned = pdb.runcall(function, *positional, **inputs) if breakpoint_first else function(*positional, **inputs)
        if inspect.iscoroutine(returned):
            returned = asyncio.run(returned)
    except Exception:  # noqa: BLE001 -- whatever user code raises is what is being looked for
        # Without this frame: the first line shown is the user's.
        trace = sys.exc_info()[2]
        trace = trace.tb_next if trace is not None and trace.tb_next is not None else trace
        traceback.print_exception(sys.exc_info()[0], sys.exc_info()[1], trace)
        pdb.post_mortem(trace)
        return ExitCode.RUN_FAILED
    sys.stdout.write(f"{name} returned {_short(returned)}\n")
    return ExitCode.SUCCEEDED


def _function(step: StepSpec, target: FunctionTarget) -> Callable[..., Any]:
    try:
        found: Any = importlib.import_module(target.module)
        for part in target.function.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"{step.name!r} is {target.function} of {target.module}, which is not in this project: {error}") from error
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
