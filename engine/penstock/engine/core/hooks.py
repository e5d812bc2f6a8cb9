"""Hooks: the steps that are called when all others have ended, and what they are told of the run."""

from penstock.contracts.artifacts import INLINE_LIMIT
from penstock.contracts.encoding import canonical
from penstock.contracts.states import RunState, StepState
from penstock.engine.core.fan import drop
from penstock.engine.core.plan import Plan, PlanNode
from penstock.engine.core.slice import Slice, Steps
from penstock.engine.core.wants import StepRuns

_TEXT_LIMITS = (500, 100, 20)
"""Characters of each text of a summary: the first that lets it travel inline. With the last one any does."""
_FAILED_STEPS = 20
_TAGS_BYTES = 800


def called(plan: Plan, result: RunState) -> list[PlanNode]:
    """The hooks of a run that ends so."""
    wanted = {"on_exit", {RunState.SUCCEEDED: "on_success", RunState.FAILED: "on_failure"}.get(result)}
    nodes = plan.nodes[len(plan.spec.nodes) :]
    return [node for event, node in zip(sorted(plan.spec.hooks), nodes, strict=True) if event in wanted]


def summary(rows: Slice, result: RunState) -> dict[str, object]:
    """What a hook receives. It travels inline, however long names and errors are."""
    summaries = (_summary(rows, result, limit) for limit in _TEXT_LIMITS)
    return next(found for found in summaries if len(canonical(found)) <= INLINE_LIMIT)


def leave(rows: Slice) -> Steps:
    """Somebody cancels a run whose hooks run: those are not waited for, and the run ends as it would have."""
    keys = [(node.no, 0) for node in rows.plan.nodes[len(rows.plan.spec.nodes) :]]
    yield StepRuns(rows.unknown(keys))
    for key in keys:
        if key in rows.steps:
            drop(rows, rows.steps[key])


def _summary(rows: Slice, result: RunState, limit: int) -> dict[str, object]:
    run = rows.run
    failed = rows.failed_nodes | {row.node for row in rows.steps.values() if row.state is StepState.FAILED}
    return {
        "run_id": run.run_id,
        "name": run.name[:limit],
        "pipeline": run.pipeline[:limit],
        "state": result.value,
        "error": run.error and run.error[:limit],
        "url": f"penstock:runs/{run.run_id}",
        "tags": _first_of(run.tags),
        "failed_steps": [rows.plan.nodes[number].name[:limit] for number in sorted(failed)][:_FAILED_STEPS],
        "seconds": (rows.now - (run.started_at or rows.now)) / 1_000_000,
    }


def _first_of(tags: dict[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    size = 0
    for name, value in tags.items():
        size += len(canonical([name, value]))
        if size > _TAGS_BYTES:
            break
        kept[name] = value
    return kept
