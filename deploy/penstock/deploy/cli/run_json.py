"""The last line of `penstock run --json`: a run in plain data, one entry for each step run."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from penstock.contracts.artifacts import ArtifactRef, ListValue, RecordValue, Value
from penstock.contracts.views import RunView, StepRunView
from penstock.sdk.client import EngineClient

_STEP_RUNS = 100_000


def run_json(view: RunView, client: EngineClient) -> str:
    """One line: `run`, `name`, `state`, `steps`, `outputs`."""
    names = {count.name for count in view.steps if count.kind == "step"}
    step_runs = [step_run for step_run in client.step_runs(view.run_id, limit=_STEP_RUNS) if step_run.step in names]
    return json.dumps(run_document(view, step_runs, plain_values(view.outputs)), ensure_ascii=False)


def run_document(view: RunView, step_runs: Iterable[StepRunView], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The line as data."""
    return {
        "run": view.run_id,
        "name": view.name,
        "state": view.state.value,
        "steps": [_step(step_run) for step_run in step_runs],
        "outputs": dict(outputs),
    }


def plain_values(values: Mapping[str, Value]) -> dict[str, Any]:
    """Small values as themselves, artifacts as their refs, and lists and records of these."""
    return {name: plain_value(value) for name, value in values.items()}


def plain_value(value: Value) -> Any:
    """As `plain_values`, of one."""
    match value:
        case ArtifactRef() if value.is_inline:
            return value.json_value()
        case ListValue():
            return [plain_value(item) for item in value.list]
        case RecordValue():
            return plain_values(value.record)
        case _:
            return value.model_dump(mode="json", exclude_defaults=True)


def _step(step_run: StepRunView) -> dict[str, Any]:
    return {
        "name": step_run.step,
        "index": list(step_run.index),
        "state": step_run.state.value,
        "hit": step_run.hit,
        "attempts": len(step_run.attempts),
        "seconds": round(sum(attempt.seconds for attempt in step_run.attempts), 6),
    }
