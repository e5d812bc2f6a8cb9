"""Reads the rows that a decision wants into its slice. Rows that a slice already holds are never replaced."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.states import AttemptState, RunState, StepState
from penstock.engine.core.decision import Decision
from penstock.engine.core.plan import Plan, plan_of
from penstock.engine.core.rows import AttemptRow, CacheRow, GroupRow, ItemRow, Key, RunRow, StepRow
from penstock.engine.core.wants import (
    Approvals,
    Attempts,
    CacheEntries,
    FailedNodes,
    Groups,
    Items,
    Members,
    NewestVersions,
    NextItem,
    Pins,
    Running,
    StepRuns,
    Want,
)
from penstock.engine.people.approval_rows import load_approvals
from penstock.engine.people.named_versions import newest_version
from penstock.engine.statement import Statement

_STEP = (
    "s.node, s.item, s.parent_item, s.state, s.waiting, s.attempts, s.failures, s.losses, s.cursor, s.key, s.inputs, s.outputs, "
    "s.hit_run, s.hit_at, s.reason, s.failure, s.flags, s.started_at, s.ended_at"
)
# CROSS JOIN tells SQLite to go through the keys and look each row up, instead of through the rows.
_TRIPLES = (
    "elements(:keys) k CROSS JOIN looked_up(s) {table} s WHERE s.run_no = :run_no AND s.{first} = part_of(k, 0) "
    "AND s.{second} = part_of(k, 1){third} so_far(s)"
)
_PAIRS = _TRIPLES.replace("{third}", "")
_RUN = (
    'run_no, run_id, workspace, pipeline, number, name, spec_digest, state, params, options, cause, tags, owner, "open", seq, '
    "stop, error, started_at, ended_at, outputs"
)
_load_run = Statement(f"SELECT {_RUN} FROM run WHERE run_no = :run_no")  # noqa: S608 - constants
_lock_and_load = Statement(
    f"SELECT {_RUN} FROM run u WHERE u.run_no IN (SELECT number_of(r) FROM elements(:runs) r) ORDER BY u.run_no locked(u)"  # noqa: S608 - constants
)
_load_spec = Statement("SELECT bytes FROM spec WHERE workspace = :workspace AND digest = :digest")
_load_steps = Statement(f"SELECT {_STEP} FROM " + _PAIRS.format(table="step_run", first="node", second="item"))  # noqa: S608 - constants
_load_members = Statement(
    f"SELECT {_STEP} FROM step_run s WHERE s.run_no = :run_no AND s.node = :node AND s.item >= :low AND s.item < :high"  # noqa: S608 - constants
)
_load_all_running = Statement(f"SELECT {_STEP} FROM step_run s WHERE s.run_no = :run_no AND s.state = 'running'")  # noqa: S608 - constants
_load_failed_nodes = Statement("SELECT DISTINCT node FROM step_run WHERE run_no = :run_no AND state = 'failed'")
_load_groups = Statement(
    "SELECT s.node, s.parent_item, s.base, s.total, s.remaining, s.failed, s.skipped FROM "  # noqa: S608 - constants
    + _PAIRS.format(table="step_group", first="node", second="parent_item")
)
_load_items = Statement(
    "SELECT s.each_node, s.item, s.parent_item, s.path, s.value FROM " + _PAIRS.format(table="fan_item", first="each_node", second="item")  # noqa: S608 - constants
)
_load_attempts = Statement(
    "SELECT s.node, s.item, s.number, s.state, s.pool, s.slots, s.incarnation, s.runner, s.made_at, s.sent_at, s.started_at, "  # noqa: S608 - constants
    "s.ended_at, s.failure, s.log, s.seconds, s.cpu_seconds, s.peak_memory FROM "
    + _TRIPLES.format(table="attempt", first="node", second="item", third=" AND s.number = part_of(k, 2)")
)
_load_cache = Statement(
    "SELECT s.key, s.outputs, s.run_no, s.made_at, s.checked_at, s.node, s.item, s.seconds FROM elements(:keys) k "
    "CROSS JOIN looked_up(s) cache_entry s WHERE s.workspace = :workspace AND s.key = text_of(k) so_far(s)"
)
_load_counter = Statement("SELECT next_item FROM fan_counter WHERE run_no = :run_no AND each_node = :each_node")

PLANS = 256
"""Kept in memory, by digest: what they are made of never changes, and may be long."""
_plans: dict[str, Plan] = {}


def load_run(connection: Connection, run_no: int) -> RunRow | None:
    """The run of that number."""
    row = _load_run.first(connection, run_no=run_no)
    return None if row is None else _run(row)


def lock_and_load_runs(connection: Connection, runs: Iterable[int]) -> dict[int, RunRow]:
    """Those of the runs that exist, in the order of their numbers. Nobody else decides them before this transaction ends."""
    wanted = sorted(set(runs))
    if not wanted:
        return {}
    return {row[0]: _run(row) for row in _lock_and_load.rows(connection, runs=json.dumps(wanted))}


def _run(row: Sequence[Any]) -> RunRow:
    values = list(row)
    values[7] = RunState(values[7])
    values[9:12] = [json.loads(text) for text in values[9:12]]
    columns = (
        "run_no", "run_id", "workspace", "pipeline", "number", "name", "spec_digest", "state", "params", "options", "cause", "tags",
        "owner", "open", "seq", "stop", "error", "started_at", "ended_at", "outputs",
    )  # fmt: skip
    return RunRow(**dict(zip(columns, values, strict=True)))


def load_plan(connection: Connection, run: RunRow) -> Plan:
    """The plan of a run's pipeline."""
    plan = _plans.get(run.spec_digest)
    if plan is None:
        row = _load_spec.first(connection, workspace=run.workspace, digest=run.spec_digest)
        if row is None:
            raise LookupError(f"the spec {run.spec_digest} of run {run.run_id} is not in the store")
        plan = plan_of(bytes(row[0]))
        if len(_plans) >= PLANS:
            _plans.pop(next(iter(_plans)))
        _plans[run.spec_digest] = plan
    return plan


def load(connection: Connection, decision: Decision, want: Want) -> None:
    """Loads what a decision wants into its slice; rows that it already holds are never replaced."""
    run_no = decision.run.run_no
    match want:
        case StepRuns() | Members() | Running():
            _take_steps(decision, _step_rows(connection, run_no, want))
        case FailedNodes():
            decision.failed_nodes.update(row[0] for row in _load_failed_nodes.rows(connection, run_no=run_no))
        case Groups():
            _take_groups(connection, decision, want.keys)
        case Items():
            _take_items(connection, decision, [key for key in want.keys if key not in decision.items])
        case Attempts():
            _take_attempts(connection, decision, want.keys)
        case CacheEntries():
            _take_cache(connection, decision, want.keys)
        case NextItem():
            for each in want.eaches:
                decision.next_item.setdefault(each, _load_counter.number(connection, run_no=run_no, each_node=each))
        case Pins():
            _take_pins(connection, decision, want.keys)
        case Approvals() | NewestVersions():
            _take_what_people_see(connection, decision, want)


def _step_rows(connection: Connection, run_no: int, want: StepRuns | Members | Running) -> list[tuple[Any, ...]]:
    match want:
        case StepRuns():
            return _load_steps.rows(connection, run_no=run_no, keys=json.dumps(want.keys)) if want.keys else []
        case Members():
            return _load_members.rows(connection, run_no=run_no, node=want.node, low=want.base, high=want.base + want.count)
        case Running():
            return _load_all_running.rows(connection, run_no=run_no)


def _take_what_people_see(connection: Connection, decision: Decision, want: Approvals | NewestVersions) -> None:
    match want:
        case Approvals():
            for place, asked in load_approvals(connection, decision.run.run_no, want.keys).items():
                decision.approvals.setdefault(place, asked)
        case NewestVersions():
            for name in want.names:
                decision.newest.setdefault(name, newest_version(connection, decision.run.workspace, name))


def _take_groups(connection: Connection, decision: Decision, keys: list[Key]) -> None:
    if keys:
        for values in _load_groups.rows(connection, run_no=decision.run.run_no, keys=json.dumps(keys)):
            decision.groups.setdefault((values[0], values[1]), GroupRow(*values))


def _take_attempts(connection: Connection, decision: Decision, keys: list[tuple[int, int, int]]) -> None:
    for values in _load_attempts.rows(connection, run_no=decision.run.run_no, keys=json.dumps(keys)):
        row = AttemptRow(*values)
        row.state = AttemptState(row.state)
        decision.attempts.setdefault((row.node, row.item, row.number), row)


def _take_cache(connection: Connection, decision: Decision, keys: list[str]) -> None:
    if not keys:
        return
    rows = _load_cache.rows(connection, workspace=decision.run.workspace, keys=json.dumps(keys))
    found = {values[0]: CacheRow(*values) for values in rows}
    for key in keys:
        decision.cache.setdefault(key, found.get(key))


def _step(values: Sequence[Any]) -> StepRow:
    row = StepRow(*values)
    row.state = StepState(row.state)
    return row


def _take_steps(decision: Decision, found: Sequence[Sequence[Any]]) -> None:
    steps = decision.steps
    for values in found:
        if (values[0], values[1]) not in steps:
            steps[values[0], values[1]] = _step(values)


def _take_items(connection: Connection, decision: Decision, keys: list[Key]) -> None:
    if not keys:
        return
    for each, item, parent, path, value in _load_items.rows(connection, run_no=decision.run.run_no, keys=json.dumps(keys)):
        decision.items[each, item] = ItemRow(each, item, parent, tuple(json.loads(path)), value)


def _take_pins(connection: Connection, decision: Decision, keys: list[Key]) -> None:
    """Old outputs for the nodes that the run's options pin, number by number."""
    numbers = {int(new): int(old) for new, old in decision.run.options.get("pins", {}).items()}
    wanted = [key for key in keys if key[0] in numbers]
    if not wanted:
        return
    old_keys = {(numbers[node], item): (node, item) for node, item in wanted}
    rows = _load_steps.rows(connection, run_no=decision.run.options["pinned_run_no"], keys=json.dumps(list(old_keys)))
    for values in rows:
        row = _step(values)
        if row.state is StepState.SUCCEEDED:
            decision.pins[old_keys[row.place]] = row
