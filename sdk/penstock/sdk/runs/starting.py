"""How a run is started by the user's process: inline, or by the engine of the pipeline's project."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import PipelineSpec
from penstock.sdk.context import importing_in_guest
from penstock.sdk.drawing.annotations import kind_of
from penstock.sdk.drawing.calls import Call
from penstock.sdk.drawing.drawing import Drawing, current_drawing
from penstock.sdk.drawing.parameters import bound_parameters, checked_value
from penstock.sdk.drawing.tracing import traced
from penstock.sdk.inline.run import InlineRun
from penstock.sdk.options import RunOptions
from penstock.sdk.runs.engine_run import Annotations, EngineRun
from penstock.sdk.runs.run import Run
from penstock.sdk.runs.state_home import engine_of
from penstock.sdk.runs.submission import Submission, checked_local, submit
from penstock.sdk.types import Directory, File


class Startable(Protocol):
    """What is needed of a pipeline to run it."""

    @property
    def name(self) -> str: ...
    @property
    def fn(self) -> Callable[..., Any]: ...
    @property
    def signature(self) -> inspect.Signature: ...
    @property
    def hints(self) -> dict[str, Any]: ...
    @property
    def run_options(self) -> RunOptions: ...
    def draw(self) -> tuple[Drawing, PipelineSpec]: ...


def started(pipeline: Startable, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Run[Any]:
    """A run under the pipeline's run options; an inline one is over.

    :raises InvalidInput: a parameter does not fit, or a module runs its pipeline while it is imported.
    """
    _refuse_nested(pipeline.name)
    values = bound_parameters(pipeline.name, pipeline.signature, args, kwargs)
    drawing, spec = pipeline.draw()
    options = pipeline.run_options
    if options.get("inline"):
        return Run(
            InlineRun(drawing, spec, _inline_parameters(pipeline, values), pipeline.hints.get("return", Any), options.get("replace", {}))
        )
    if options.get("replace"):
        raise InvalidInput("replace= works with inline=True only: other runs take a step's code from its module")
    client = engine_of(Path(inspect.getsourcefile(pipeline.fn) or Path.cwd()), options.get("profile"))
    submission = Submission(traced=traced(drawing, spec, pipeline.fn), values=values, hints=pipeline.hints, options=options)
    try:
        run_id = submit(client, submission)
    finally:
        drawing.constants.remove()
    calls: dict[str, Call] = {name: call for name, call in drawing.makers.items() if isinstance(call, Call)}
    return Run(EngineRun(client, run_id, Annotations(result=pipeline.hints.get("return", Any), calls=calls)))


def waited(run: Run[Any]) -> None:
    """Waits for a run. Interrupted once, it cancels the run and waits for that; twice, it leaves at once."""
    try:
        run.wait()
    except KeyboardInterrupt:
        run.cancel("interrupted")
        run.wait()
        raise


async def awaited(pipeline: Startable, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Run[Any]:
    """A run that has ended. Cancelling the task that waits for it cancels the run."""
    run = await asyncio.to_thread(started, pipeline, args, kwargs)
    try:
        return await asyncio.to_thread(run.wait)
    except asyncio.CancelledError:
        await asyncio.to_thread(run.cancel, "its task was cancelled")
        raise


def _inline_parameters(pipeline: Startable, given: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, parameter in pipeline.signature.parameters.items():
        hint = pipeline.hints.get(name, Any)
        value = checked_value(name, given[name], hint) if name in given else parameter.default
        if kind_of(hint) in ("file", "directory") and isinstance(value, File | Directory):
            # Steps run in folders of their own, where a relative path means something else.
            value = type(value)(checked_local(value, f"the parameter {name!r}"))
        values[name] = value
    return values


def _refuse_nested(name: str) -> None:
    if importing_in_guest():
        raise InvalidInput(
            f"{name}.run(...) is called while its module is imported; a runner imports the module too. Put the call under\n"
            f'    if __name__ == "__main__":\n        {name}.run(...)'
        )
    if current_drawing() is not None:
        raise InvalidInput(f"{name}.run(...) is called in the body of a pipeline; call {name}(...) to make it part of this one")
