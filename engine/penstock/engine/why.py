"""`why`: what decided that a step run was executed, taken from the cache, or skipped; told from the components of its key."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.artifacts import ArtifactRef, Value, content_digest
from penstock.contracts.bindings import FromItem, FromNode, FromParameter, walk
from penstock.contracts.cache_key import static_components
from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import StepState
from penstock.contracts.views import Difference, StepRunView, Why
from penstock.engine.queries import find_run, node_number, plan_of_run, step_run_views
from penstock.engine.statement import Statement

_PREVIEW = 60
_NONDETERMINISTIC = (
    "nondeterministic output: the same code with the same inputs made other bytes before; what depends on it is executed again each time"
)
_earlier = Statement(
    "SELECT u.run_no, u.run_id, u.number, u.name, u.workspace, u.pipeline, u.spec_digest, u.options FROM run u "
    "WHERE u.workspace = :workspace AND u.pipeline = :pipeline AND u.run_no < :run_no ORDER BY u.run_no DESC LIMIT 20"
)
_options = Statement("SELECT options FROM run WHERE run_no = :run_no")
_SEARCHED = 100_000
"""Step runs of one step that are looked through for an index."""


def why(connection: Connection, workspace: str, run: str, step: str, index: tuple[int, ...], now: int) -> Why:
    """Why that step run went as it went.

    :raises InvalidInput: there is no such run, step or index.
    """
    row = find_run(connection, workspace, run)
    plan = plan_of_run(connection, row)
    node = plan.nodes[node_number(plan, step)]
    view = _view(connection, row, step, index, now)
    if view is None:
        raise InvalidInput(f"the run {row[3]} has no step run {_label(step, index)} (yet)")
    notes = (*_notes(node.spec), *([_NONDETERMINISTIC] if view.is_nondeterministic else []))
    told = Why(step=step, index=view.index, state=view.state, verdict=view.reason or view.state.value, notes=notes)
    if not isinstance(node.spec, StepSpec):
        return told
    if not node.spec.is_dispatched:
        return told
    if view.hit:
        return told.model_copy(update={"verdict": _hit_verdict(view), "compared_with": view.hit_run})
    if view.state in (StepState.SKIPPED, StepState.CANCELLED, StepState.WAITING):
        return told.model_copy(update={"verdict": f"{view.state.value}: {view.reason}" if view.reason else view.state.value})
    return told.model_copy(update=_executed(connection, row, node.spec, view, now))


def _view(connection: Connection, row: tuple[Any, ...], step: str, index: tuple[int, ...], now: int) -> StepRunView | None:
    views = step_run_views(connection, row, step, _SEARCHED if index else 1, now)
    return next((view for view in views if view.index == index), views[0] if views and not index else None)


def _label(step: str, index: tuple[int, ...]) -> str:
    return "/".join([step, *map(str, index)])


def _notes(spec: object) -> tuple[str, ...]:
    return spec.code.notes + spec.environment.notes if isinstance(spec, StepSpec) else ()


def _hit_verdict(view: StepRunView) -> str:
    return f"taken from the cache: its code, environment and inputs are those of {view.hit_run or 'an earlier run'}"


def _executed(connection: Connection, row: tuple[Any, ...], spec: StepSpec, view: StepRunView, now: int) -> dict[str, Any]:
    """The verdict on what was executed, with what it was compared."""
    mine = components(spec, view.inputs)
    for earlier in _earlier.rows(connection, workspace=row[4], pipeline=row[5], run_no=row[0]):
        other_plan = plan_of_run(connection, earlier)
        other_spec = next((node.spec for node in other_plan.nodes if node.name == spec.name), None)
        if not isinstance(other_spec, StepSpec):
            continue
        other = _view(connection, earlier, spec.name, view.index, now)
        if other is None or not other.key:
            continue
        differences = compare(components(other_spec, other.inputs), mine, _sources(spec))
        if differences:
            return {"verdict": f"executed: {_first(differences)}", "compared_with": earlier[3], "differences": tuple(differences)}
        return {"verdict": f"executed: {_same_key_reason(connection, row, spec, other)}", "compared_with": earlier[3]}
    return {"verdict": "executed: no earlier run of this pipeline has this step run"}


def _same_key_reason(connection: Connection, row: tuple[Any, ...], spec: StepSpec, other: StepRunView) -> str:
    found = _options.first(connection, run_no=row[0])
    rerun: list[str] = json.loads(found[0]).get("rerun", []) if found is not None else []
    if "all" in rerun or spec.name in rerun:
        return "the run asked for it (--rerun)"
    if not spec.cache:
        return "it is not cached (it returns nothing, or says cache=False)"
    if other.state is not StepState.SUCCEEDED:
        return f"nothing differs, but it {other.state.value} in that run"
    if spec.cache_seconds is not None:
        return "nothing differs, but its result is older than it may be"
    return "nothing differs, but its result is not in the cache any more (cleared, lost or corrupt, or not for reuse)"


def components(spec: StepSpec, inputs: Mapping[str, Value]) -> dict[str, tuple[str, str]]:
    """The named components of a step run's key, as (digest, text for people); code and environment in their parts."""
    found = {name: (text, _short(text)) for name, text in static_components(spec).items() if name not in ("code", "environment")}
    for title, identity in (("code", spec.code), ("environment", spec.environment)):
        parts = identity.components or {"": identity.digest}
        found |= {f"{title} {name}".strip(): (text, _short(text)) for name, text in parts.items()}
    return found | {f"input {name}": (content_digest(value), _preview(value)) for name, value in inputs.items()}


def compare(before: dict[str, tuple[str, str]], after: dict[str, tuple[str, str]], sources: dict[str, str]) -> list[Difference]:
    """What differs between two keys: code first, then what it depends on."""
    differences: list[Difference] = []
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = before.get(name), after.get(name)
        if (old and old[0]) != (new and new[0]):
            label = f"{name} ({sources[name]})" if name in sources else name
            differences.append(Difference(component=label, before=old[1] if old else None, after=new[1] if new else None))
    order = ("code", "file", "environment", "input", "variable")
    return sorted(differences, key=lambda d: next((place for place, kind in enumerate(order) if d.component.startswith(kind)), len(order)))


def _sources(spec: StepSpec) -> dict[str, str]:
    """Where each input comes from: what to look at when it differs."""
    sources: dict[str, str] = {}
    for name, binding in spec.inputs.items():
        for part in walk(binding):
            match part:
                case FromNode():
                    sources[f"input {name}"] = f"from {part.node}"
                case FromParameter():
                    sources[f"input {name}"] = f"parameter {part.parameter}"
                case FromItem():
                    sources[f"input {name}"] = "item of a fan-out"
                case _:
                    continue
            break
    return sources


def _first(differences: list[Difference]) -> str:
    first = differences[0]
    if first.before is None:
        return f"{first.component} is new"
    if first.after is None:
        return f"{first.component} is gone"
    rest = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
    return f"{first.component} changed from {first.before} to {first.after}{rest}"


def _short(text: str) -> str:
    return text.removeprefix("sha256:")[:12] if text.startswith("sha256:") else text[:_PREVIEW]


def _preview(value: Value) -> str:
    if isinstance(value, ArtifactRef) and value.is_inline:
        text = json.dumps(value.json_value())
        return text if len(text) <= _PREVIEW else text[:_PREVIEW] + "…"
    return _short(content_digest(value))
