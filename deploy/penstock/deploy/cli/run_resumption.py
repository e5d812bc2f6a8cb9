"""Going on with what exists: resuming a run whose process died, and running a run again as a new one."""

import typer

from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import Cause, RunOptions
from penstock.contracts.spec import PipelineSpec, decode_spec
from penstock.contracts.views import RunView
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.following import display_for, follow_run
from penstock.deploy.cli.loaded_pipeline import load, stored_spec
from penstock.deploy.cli.run_execution import RunRequest, conclude, execute
from penstock.deploy.cli.trace_record import last_target_of
from penstock.deploy.cli.wiring import housekeeping
from penstock.sdk.client import EngineClient
from penstock.sdk.nearest import nearest_hint


def resume_run(client: EngineClient, run: str, as_json: bool) -> ExitCode:
    """Follows a run that goes on, to its end.

    :raises InvalidInput: no such run, or it has ended.
    """
    view = client.run(run)
    if view.state.is_terminal:
        raise InvalidInput(f"{view.name} has {view.state.value}; a run that ended can be run again: penstock rerun {view.name}")
    view = client.resume(view.run_id)
    display = display_for(as_json)
    display.note(f"going on with {view.name}")
    ended, was_interrupted = follow_run(client, view, display)
    return conclude(client, ended, RunRequest(tags={}, save={}, as_json=as_json), was_interrupted)


def rerun_run(
    context: typer.Context, client: EngineClient, run: str, *, failed: bool, from_step: str | None, original: bool, as_json: bool
) -> ExitCode:
    """A new run with the old one's parameters: all of it, from a step on, or what failed.

    :raises InvalidInput: no such run or step, or contradicting choices.
    """
    if failed and from_step is not None:
        raise InvalidInput("--failed and --from contradict each other; name one")
    view = client.run(run)
    if not view.state.is_terminal:
        raise InvalidInput(f"{view.name} is {view.state.value}; cancel it first (penstock runs cancel {view.name}) or resume it")
    spec, warning = _spec(context, client, view, original)
    steps = [step.name for step in spec.steps]
    if from_step is not None and from_step not in steps:
        raise InvalidInput(f"--from: {spec.name} has no step {from_step!r}{nearest_hint(from_step, steps)}")
    is_pinned = failed or from_step is not None
    options = RunOptions(
        rerun=() if failed else (from_step,) if from_step is not None else ("all",),
        pinned_from=view.run_id if is_pinned else None,
    )
    known = {parameter.name for parameter in spec.parameters}
    values = {name: value for name, value in view.parameters.items() if name in known}
    request = RunRequest(
        tags=view.tags, options=options, cause=Cause(kind="rerun", of=view.run_id), save={}, as_json=as_json, warnings=warning
    )
    return execute(client, spec, values, request)


def _spec(context: typer.Context, client: EngineClient, view: RunView, original: bool) -> tuple[PipelineSpec, tuple[str, ...]]:
    """Today's code where its file is known, else the code of that run."""
    if not original:
        target = last_target_of(client.home, view.pipeline)
        if target is not None:
            today = load(context, target)
            return stored_spec(today, client), today.notes
    spec = decode_spec(housekeeping(client).spec(view.run_id))
    warning = () if original else (f"no file of {view.pipeline} is known here: this run uses the code of {view.name}",)
    return spec, warning
