"""What people ask of runs, answered from the rows. Read-only."""

import json
from collections import defaultdict
from math import nan
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import Failure, Metric
from penstock.contracts.spec import CollectSpec, EachSpec, Node, StepSpec
from penstock.contracts.states import RunState, StepState
from penstock.contracts.targets import ApprovalTarget
from penstock.contracts.views import AttemptView, RunView, StepCount, StepRunView
from penstock.engine.core.approvals import waiting_text
from penstock.engine.core.plan import Plan, plan_of
from penstock.engine.core.rows import NONDETERMINISTIC, unpack_values
from penstock.engine.statement import Statement

RUN_COLUMNS = (
    "u.run_no, u.run_id, u.number, u.name, u.workspace, u.pipeline, u.spec_digest, u.state, u.created_at, u.started_at, u.ended_at, "
    "u.tags, u.experiment, u.cause, u.error, u.params, u.outputs, u.owner, u.options"
)
_find = Statement(
    f"SELECT {RUN_COLUMNS} FROM run u WHERE u.workspace = :workspace "  # noqa: S608 - constants
    "AND (u.run_id = :name OR u.name = :name OR CAST(u.run_no AS TEXT) = :name) "
    "ORDER BY u.run_no DESC LIMIT 1"
)
_newest = Statement(
    f"SELECT {RUN_COLUMNS} FROM run u WHERE u.workspace = :workspace AND (CAST(:pipeline AS TEXT) IS NULL OR u.pipeline = :pipeline) "  # noqa: S608 - constants
    "ORDER BY u.run_no DESC LIMIT :count"
)
_spec = Statement("SELECT bytes FROM spec WHERE workspace = :workspace AND digest = :digest")
_counts = Statement(
    "SELECT node, state, count(*), count(hit_run), min(hit_at), min(started_at), max(ended_at), sum(attempts), min(reason), "
    "sum(flags & :nondeterministic) FROM step_run WHERE run_no = :run_no GROUP BY node, state"
)
_totals = Statement("SELECT node, CAST(sum(total) AS BIGINT) FROM step_group WHERE run_no = :run_no GROUP BY node")
_steps = Statement(
    'SELECT s.node, s.item, s.state, s.hit_run, s.hit_at, s."key", s.inputs, s.outputs, s.failure, s.reason, '
    "s.started_at, s.ended_at, s.flags FROM step_run s WHERE s.run_no = :run_no "
    "AND s.node IN (SELECT number_of(n) FROM elements(:nodes) n) AND (s.node, s.item) > (:after_node, :after_item) "
    "ORDER BY s.node, s.item LIMIT :count"
)
_paths = Statement(
    "SELECT each_node, item, path FROM fan_item WHERE run_no = :run_no AND each_node = :each_node AND item > :after "
    "ORDER BY item LIMIT :count"
)
_attempts = Statement(
    "SELECT node, item, number, state, runner, started_at, ended_at, seconds, cpu_seconds, peak_memory, failure, log FROM attempt "
    "WHERE run_no = :run_no AND (CAST(:node AS BIGINT) IS NULL OR node = :node) AND (node, item) > (:after_node, :after_item) "
    "ORDER BY node, item, number LIMIT :count"
)
_metrics = Statement(
    "SELECT node, item, name, value, step FROM metric WHERE run_no = :run_no AND (CAST(:node AS BIGINT) IS NULL OR node = :node) "
    "ORDER BY node, item, attempt, position"
)
_attachments = Statement(
    "SELECT node, item, name, ref FROM attachment WHERE run_no = :run_no AND (CAST(:node AS BIGINT) IS NULL OR node = :node)"
)
_origin = Statement('SELECT node, item FROM cache_entry WHERE workspace = :workspace AND "key" = :key AND run_no = :run_no')
_attempts_of = Statement(
    "SELECT node, item, number, state, runner, started_at, ended_at, seconds, cpu_seconds, peak_memory, failure, log FROM attempt "
    "WHERE run_no = :run_no AND node = :node AND item = :item ORDER BY number"
)
_metrics_of = Statement(
    "SELECT node, item, name, value, step FROM metric WHERE run_no = :run_no AND node = :node AND item = :item ORDER BY attempt, position"
)
_attachments_of = Statement("SELECT node, item, name, ref FROM attachment WHERE run_no = :run_no AND node = :node AND item = :item")
_run_name = Statement("SELECT name FROM run WHERE run_no = :run_no")


def find_run(connection: Connection, workspace: str, name: str) -> tuple[Any, ...]:
    """The row of the run that people call `name`: its id, name, number, or `last`.

    :raises InvalidInput: there is none.
    """
    if name == "last":
        rows = _newest.rows(connection, workspace=workspace, pipeline=None, count=1)
        if rows:
            return rows[0]
        raise InvalidInput("there is no run yet: start one with `penstock run FILE`")
    row = _find.first(connection, workspace=workspace, name=name)
    if row is None:
        known = ", ".join(known[3] for known in _newest.rows(connection, workspace=workspace, pipeline=None, count=5))
        raise InvalidInput(f"there is no run {name!r} (the newest are: {known or 'none'})")
    return row


def plan_of_run(connection: Connection, row: tuple[Any, ...]) -> Plan:
    """The plan of the run with that row."""
    found = _spec.first(connection, workspace=row[4], digest=row[6])
    if found is None:
        raise InvalidInput(f"the spec of run {row[3]} is not in the store")
    return plan_of(bytes(found[0]))


def run_view(connection: Connection, row: tuple[Any, ...], now: int, *, with_steps: bool = True) -> RunView:
    """The run with that row as people see it."""
    return RunView(
        run_id=row[1],
        number=row[2],
        name=row[3],
        workspace=row[4],
        pipeline=row[5],
        spec_digest=row[6],
        state=RunState(row[7]),
        created_at=row[8],
        started_at=row[9],
        ended_at=row[10],
        tags=json.loads(row[11]),
        experiment=row[12],
        cause=json.loads(row[13]),
        error=row[14],
        parameters=unpack_values(row[15]),
        outputs=unpack_values(row[16]),
        resolved=json.loads(row[18]).get("resolved", {}),
        steps=tuple(_step_counts(connection, row, now)) if with_steps else (),
    )


def newest_runs(connection: Connection, workspace: str, pipeline: str | None, count: int, now: int) -> list[RunView]:
    """The newest runs, without their steps."""
    rows = _newest.rows(connection, workspace=workspace, pipeline=pipeline, count=count)
    return [run_view(connection, row, now, with_steps=False) for row in rows]


def _step_counts(connection: Connection, row: tuple[Any, ...], now: int) -> list[StepCount]:
    plan = plan_of_run(connection, row)
    counted: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for count in _counts.rows(connection, run_no=row[0], nondeterministic=NONDETERMINISTIC):
        counted[count[0]].append(count)
    totals: dict[int, int] = dict(_totals.rows(connection, run_no=row[0]))
    return [
        _step_count(plan, node.no, counted[node.no], totals, now)
        for node in plan.nodes
        if node.no in counted or node.no < len(plan.spec.nodes)
    ]


def _step_count(plan: Plan, number: int, counts: list[tuple[Any, ...]], totals: dict[int, int], now: int) -> StepCount:
    node = plan.nodes[number]
    states = {StepState(count[1]): int(count[2]) for count in counts}
    made = [count[4] for count in counts if count[4] is not None]
    started = [count[5] for count in counts if count[5] is not None]
    ended = [count[6] for count in counts if count[6] is not None]
    # In a nested fan-out the total is known once every fan-out around it is; until then it grows.
    total = 1 if not node.chain else totals.get(number)
    return StepCount(
        name=node.name,
        kind="each" if isinstance(node.spec, EachSpec) else "collect" if isinstance(node.spec, CollectSpec) else "step",
        pool=node.spec.pool if isinstance(node.spec, StepSpec) and node.spec.is_dispatched else "",
        total=total,
        states=states,
        hits=sum(int(count[3] or 0) for count in counts),
        nondeterministic=sum(int(count[9] or 0) for count in counts) // NONDETERMINISTIC,
        oldest_hit_seconds=(now - min(made)) / 1_000_000 if made else None,
        started_at=min(started) if started else None,
        ended_at=max(ended) if ended and all(state.is_terminal for state in states) else None,
        attempts=sum(int(count[7] or 0) for count in counts),
        note=_note(node.spec, counts),
    )


def _note(spec: Node, counts: list[tuple[Any, ...]]) -> str:
    """Why something was not done, or what became of what no runner does."""
    told = {count[1]: (count[8], count[5]) for count in counts if count[8]}
    if isinstance(spec, StepSpec) and isinstance(spec.run, ApprovalTarget) and StepState.ASKING in told:
        question, since = told[StepState.ASKING]
        return waiting_text(spec.run, since, question)
    reasons = ["skipped", "cancelled", "failed"]
    if isinstance(spec, StepSpec) and not spec.is_dispatched:
        reasons.append("succeeded")
    return next((told[state][0] for state in reasons if state in told), "")


def node_number(plan: Plan, step: str) -> int:
    """The number of the step that people call `step`.

    :raises InvalidInput: there is none.
    """
    names = {node.name: node.no for node in plan.nodes}
    if step not in names:
        steps = [node.name for node in plan.nodes if isinstance(node.spec, StepSpec)]
        raise InvalidInput(f"the pipeline {plan.spec.name} has no step {step!r} (it has {', '.join(steps)})")
    return names[step]


Place = tuple[int, int]
BEFORE_ALL: Place = (-1, -1)


def step_run_views(connection: Connection, row: tuple[Any, ...], step: str | None, count: int, now: int) -> list[StepRunView]:
    """The step runs of a run (of one step), in order of step and index."""
    return [view for _, view in placed_step_runs(connection, row, step, BEFORE_ALL, count, now)]


def placed_step_runs(
    connection: Connection, row: tuple[Any, ...], step: str | None, after: Place, count: int, now: int
) -> list[tuple[Place, StepRunView]]:
    """The step runs of a run (of one step) from behind a place on, in order of step and index; with their places."""
    plan = plan_of_run(connection, row)
    number = node_number(plan, step) if step is not None else None
    run_no = row[0]
    behind = {"after_node": after[0], "after_item": after[1]}
    attempts = _grouped(_attempts.rows(connection, run_no=run_no, node=number, count=count * 4, **behind))
    metrics = _grouped(_metrics.rows(connection, run_no=run_no, node=number))
    attachments = _grouped(_attachments.rows(connection, run_no=run_no, node=number))
    paths: dict[int, dict[int, tuple[int, ...]]] = {}
    views: list[tuple[Place, StepRunView]] = []
    nodes = [number] if number is not None else [node.no for node in plan.nodes if isinstance(node.spec, StepSpec)]
    for values in _steps.rows(connection, run_no=run_no, nodes=json.dumps(nodes), count=count, **behind):
        of_node: int = values[0]
        node = plan.nodes[of_node]
        if node.chain and node.chain[-1] not in paths:
            rows = _paths.rows(connection, run_no=run_no, each_node=node.chain[-1], after=values[1] - 1, count=count)
            paths[node.chain[-1]] = {item: tuple(json.loads(path)) for _, item, path in rows}
        index = paths[node.chain[-1]].get(values[1], (values[1],)) if node.chain else ()
        facts = _Facts(attempts[values[0], values[1]], metrics[values[0], values[1]], attachments[values[0], values[1]])
        if values[3] is not None:
            facts = _facts_of_origin(connection, row[4], values[3], values[5]) or facts
        view = _step_run_view(connection, node.name, index, values, facts, now)
        views.append(((of_node, values[1]), _as_asked(node.spec, view)))
    return views


class _Facts:
    """What was recorded beside a step run's row."""

    def __init__(self, attempts: list[tuple[Any, ...]], metrics: list[tuple[Any, ...]], attachments: list[tuple[Any, ...]]) -> None:
        self.attempts = tuple(_attempt_view(values) for values in attempts)
        self.metrics = tuple(Metric(name=values[2], value=nan if values[3] is None else values[3], step=values[4]) for values in metrics)
        self.attachments = {values[2]: ArtifactRef.model_validate_json(values[3]) for values in attachments}


def _grouped(rows: Any) -> defaultdict[tuple[int, int], list[tuple[Any, ...]]]:
    groups: defaultdict[tuple[int, int], list[tuple[Any, ...]]] = defaultdict(list)
    for values in rows:
        groups[values[0], values[1]].append(values)
    return groups


def _facts_of_origin(connection: Connection, workspace: str, run_no: int, key: str | None) -> _Facts | None:
    """A hit shows the metrics, logs and attachments of the step run that made its outputs, for as long as that is kept."""
    found = _origin.first(connection, workspace=workspace, run_no=run_no, key=key)
    if found is None:
        return None
    place = {"run_no": run_no, "node": found[0], "item": found[1]}
    return _Facts(_attempts_of.rows(connection, **place), _metrics_of.rows(connection, **place), _attachments_of.rows(connection, **place))


def _attempt_view(values: tuple[Any, ...]) -> AttemptView:
    return AttemptView(
        number=values[2],
        state=values[3],
        runner=values[4],
        started_at=values[5],
        ended_at=values[6],
        seconds=values[7],
        cpu_seconds=values[8],
        peak_memory_bytes=values[9],
        failure=Failure.model_validate_json(values[10]) if values[10] else None,
        log=ArtifactRef.model_validate_json(values[11]) if values[11] else None,
    )


def _as_asked(spec: Node, view: StepRunView) -> StepRunView:
    """An approval that is open says what it waits for."""
    target = spec.run if isinstance(spec, StepSpec) else None
    if view.state is not StepState.ASKING or not isinstance(target, ApprovalTarget):
        return view
    return view.model_copy(update={"reason": waiting_text(target, view.started_at or 0, view.reason)})


def _step_run_view(
    connection: Connection, step: str, index: tuple[int, ...], values: tuple[Any, ...], facts: _Facts, now: int
) -> StepRunView:
    hit_run = _run_name.first(connection, run_no=values[3]) if values[3] is not None else None
    inputs: dict[str, Value] = unpack_values(values[6])
    return StepRunView(
        step=step,
        index=index,
        state=StepState(values[2]),
        hit=values[3] is not None,
        hit_run=hit_run[0] if hit_run else None,
        hit_age_seconds=(now - values[4]) / 1_000_000 if values[4] is not None else None,
        key=values[5],
        inputs=inputs,
        outputs=unpack_values(values[7]),
        failure=Failure.model_validate_json(values[8]) if values[8] else None,
        reason=values[9] or "",
        is_nondeterministic=bool(values[12] & 1),
        metrics=facts.metrics,
        attachments=facts.attachments,
        attempts=facts.attempts,
        started_at=values[10],
        ended_at=values[11],
    )
