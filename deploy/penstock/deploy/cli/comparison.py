"""What differs between two runs, step by step."""

from collections.abc import Iterator

from penstock.contracts.artifacts import Value, content_digest
from penstock.contracts.drawing import value_text
from penstock.contracts.views import RunView, StepRunView
from penstock.deploy.cli.addresses import steps_of
from penstock.deploy.cli.progress import aligned
from penstock.deploy.cli.summary import address
from penstock.sdk.client import EngineClient


def comparison_lines(client: EngineClient, before: RunView, after: RunView) -> list[str]:
    """Parameters, steps, metrics and outputs that differ; one line says so where nothing does."""
    sections = [
        ("parameters", list(_values(before.parameters, after.parameters))),
        ("steps", list(_steps(_by_address(client, before), _by_address(client, after)))),
        ("metrics", list(_metrics(_by_address(client, before), _by_address(client, after)))),
        ("outputs", list(_values(before.outputs, after.outputs))),
    ]
    lines = [f"{before.name} ({before.state.value}) and {after.name} ({after.state.value})"]
    if before.spec_digest != after.spec_digest:
        lines.append("the pipeline itself differs (its steps, their code or settings)")
    for title, rows in sections:
        if rows:
            lines += [f"{title}:", *aligned([("", *row) for row in rows])]
    return lines if len(lines) > 1 else [*lines, "no difference"]


def _by_address(client: EngineClient, view: RunView) -> dict[str, StepRunView]:
    return {address(step_run): step_run for step_run in steps_of(client, view)}


def _values(before: dict[str, Value], after: dict[str, Value]) -> Iterator[tuple[str, str, str]]:
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old is None or new is None or content_digest(old) != content_digest(new):
            yield name, _text(old), f"-> {_text(new)}"


def _steps(before: dict[str, StepRunView], after: dict[str, StepRunView]) -> Iterator[tuple[str, str, str]]:
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            yield name, "not there" if old is None else old.state.value, f"-> {'not there' if new is None else new.state.value}"
        elif old.key != new.key:
            outputs = "the same outputs" if _same_outputs(old, new) else "other outputs"
            yield name, old.state.value, f"-> {new.state.value}, another cache key, {outputs}"
        elif old.state is not new.state:
            yield name, old.state.value, f"-> {new.state.value}"


def _same_outputs(before: StepRunView, after: StepRunView) -> bool:
    old = {name: content_digest(value) for name, value in before.outputs.items()}
    return bool(old) and old == {name: content_digest(value) for name, value in after.outputs.items()}


def _metrics(before: dict[str, StepRunView], after: dict[str, StepRunView]) -> Iterator[tuple[str, str, str]]:
    old, new = _last_metrics(before), _last_metrics(after)
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            yield name, f"{old[name]:g}" if name in old else "none", f"-> {f'{new[name]:g}' if name in new else 'none'}"


def _last_metrics(step_runs: dict[str, StepRunView]) -> dict[str, float]:
    return {f"{name} {metric.name}": metric.value for name, step_run in step_runs.items() for metric in step_run.metrics}


def _text(value: Value | None) -> str:
    return "none" if value is None else value_text(value, 60)
