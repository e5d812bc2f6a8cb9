"""What is said of a run before it starts and after it ended: sizes, states, ages of hits, reasons, failures, what to do next."""

import time
from collections.abc import Iterator, Mapping

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.drawing import value_text
from penstock.contracts.errors import PenstockError
from penstock.contracts.fan_outs import defaults_of, fan_out_lines
from penstock.contracts.spec import PipelineSpec
from penstock.contracts.states import RunState, StepState
from penstock.contracts.views import RunView, StepRunView
from penstock.deploy.cli.durations import elapsed_seconds, seconds_text, size_text
from penstock.deploy.cli.progress import aligned, rows
from penstock.sdk.client import EngineClient

_FAILURES_SHOWN = 3
_REASONS_READ = 200


def header_lines(view: RunView, spec: PipelineSpec, values: Mapping[str, Value], client: EngineClient) -> list[str]:
    """The run's name, its parameters, and how large its fan-outs are where that is known."""
    lines = [f"{view.name}: {spec.name}, {len(spec.steps)} steps, run {view.run_id}"]
    shown = parameter_lines(spec, values)
    known = {**defaults_of(spec), **values}
    return lines + shown + [f"  {line}" for line in fan_out_lines(spec, known, lambda value: _length(value, client))]


def parameter_lines(spec: PipelineSpec, values: Mapping[str, Value]) -> list[str]:
    """`  depths = [3, 5]` for every parameter that has a value."""
    chosen = {parameter.name: values.get(parameter.name, parameter.default) for parameter in spec.parameters}
    return [f"  {name} = {value_text(value, 100)}" for name, value in chosen.items() if value is not None]


def summary_lines(view: RunView, client: EngineClient) -> Iterator[str]:
    """The table of steps, and one line for the run."""
    now = time.time_ns() // 1000
    shown = rows(view, reasons(view, client), now)
    yield from aligned([(row.name, row.state, row.took, row.attempts, row.note) for row in shown])
    yield ""
    yield closing_line(view)


def closing_line(view: RunView) -> str:
    """`retrain-3 succeeded in 4.1 s: 5 executed, 6 hits`."""
    steps = [count for count in view.steps if count.kind == "step"]
    hits = sum(count.hits for count in steps)
    executed = sum(count.states.get(StepState.SUCCEEDED, 0) + count.states.get(StepState.FAILED, 0) for count in steps) - hits
    skipped = sum(count.states.get(StepState.SKIPPED, 0) for count in steps)
    counts = [f"{executed} executed", f"{hits} hits"] + ([f"{skipped} skipped"] if skipped else [])
    seconds = elapsed_seconds(view.created_at, view.ended_at, time.time_ns() // 1000) or 0.0
    why = f" ({view.error})" if view.error and view.state is RunState.CANCELLED else ""
    return f"{view.name} {view.state.value}{why} in {seconds_text(seconds)}: {', '.join(counts)}"


def reasons(view: RunView, client: EngineClient) -> dict[str, str]:
    """Why a step was skipped, cancelled or failed, by step name; only steps with such a state are asked for."""
    found: dict[str, str] = {}
    for count in view.steps:
        troubled = [state for state in (StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED) if count.states.get(state)]
        if count.kind != "step" or not troubled:
            continue
        texts: dict[StepState, str] = {}
        for step_run in client.step_runs(view.run_id, count.name, limit=_REASONS_READ):
            text = step_run.failure.message if step_run.failure is not None else step_run.reason
            texts.setdefault(step_run.state, text)
        found[count.name] = next((texts[state] for state in troubled if texts.get(state)), "")
    return found


def failure_lines(view: RunView, client: EngineClient) -> Iterator[str]:
    """For each failed step run the user's own traceback first, then what to do about it."""
    failed = list(_failed(view, client))
    for step_run in failed[:_FAILURES_SHOWN]:
        failure = step_run.failure
        if failure is not None:
            yield failure.traceback.rstrip() or failure.message
            yield ""
            yield f"{address(step_run)} failed ({failure.kind.value}): {failure.message}"
            if failure.hint:
                yield f"  hint: {failure.hint}"
        yield f"  penstock debug {address(step_run)}   its inputs, in this process, with a debugger"
        yield f"  penstock logs {address(step_run)}    what it printed"
        yield ""
    if len(failed) > _FAILURES_SHOWN:
        yield f"… and {len(failed) - _FAILURES_SHOWN} more failures: penstock runs show {view.name}"
    if view.error and not failed and view.state is RunState.FAILED:
        yield view.error


def address(step_run: StepRunView) -> str:
    """`train/3`, nested `fit/3/0`."""
    return "/".join([step_run.step, *map(str, step_run.index)])


def output_lines(outputs: Mapping[str, Value]) -> list[str]:
    """The results of a run, values in full where they are short."""
    lines: list[str] = []
    for name, value in outputs.items():
        text = value_text(value, 100)
        if isinstance(value, ArtifactRef) and not value.is_inline:
            text = f"{value.kind}{' ' + value.suffix if value.suffix else ''}, {size_text(value.size)}"
        lines.append(f"{name} = {text}")
    return lines


def next_line(view: RunView, was_interrupted: bool) -> str:
    """What can be done now."""
    if was_interrupted or view.state is RunState.CANCELLED:
        return f"go on in a new run with: penstock rerun {view.name}"
    if view.state is RunState.FAILED:
        return f"after a repair: penstock rerun {view.name} --failed"
    return ""


def _failed(view: RunView, client: EngineClient) -> Iterator[StepRunView]:
    for count in view.steps:
        if count.kind == "step" and count.states.get(StepState.FAILED):
            yield from (run for run in client.step_runs(view.run_id, count.name, limit=1000) if run.state is StepState.FAILED)


def _length(value: Value, client: EngineClient) -> int | None:
    try:
        return len(client.value_items(value))
    except PenstockError:
        return None
