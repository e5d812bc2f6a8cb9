"""Loads the slice of rows that a decision wants, and writes back what it changed. One call of `decide` is part of one transaction."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.artifacts import Value, refs_in
from penstock.contracts.states import AttemptState, RunState, StepState
from penstock.engine import tables
from penstock.engine.core.decision import Decision, Fact
from penstock.engine.core.plan import Plan, plan_of
from penstock.engine.core.rows import AttemptRow, CacheRow, GroupRow, ItemRow, Key, RunRow, StepRow
from penstock.engine.core.slice import Circumstances
from penstock.engine.core.wants import (
    Attempts,
    CacheEntries,
    Changes,
    Finding,
    Groups,
    Items,
    Members,
    NextItem,
    Pins,
    Running,
    StepRuns,
    Want,
)
from penstock.engine.statement import Statement

GRACE_MICROSECONDS = 20_000_000
"""A stopped run waits so long for its runners to say that they have stopped."""

_STEP = (
    "s.node, s.item, s.parent_item, s.state, s.waiting, s.attempts, s.failures, s.losses, s.cursor, s.key, s.inputs, s.outputs, "
    "s.hit_run, s.hit_at, s.reason, s.failure, s.flags, s.started_at, s.ended_at"
)
# CROSS JOIN tells SQLite to go through the keys and look each row up, instead of through the rows.
_PAIRS = "json_each(:keys) k CROSS JOIN {table} s WHERE s.run_no = :run_no AND s.{first} = json_extract(k.value, '$[0]') AND s.{second} = json_extract(k.value, '$[1]')"

_load_run = Statement(
    "SELECT run_no, run_id, workspace, pipeline, number, name, spec_digest, state, params, options, cause, tags, owner, open, seq, "
    "stop, error, started_at, ended_at, outputs FROM run WHERE run_no = :run_no"
)
_load_spec = Statement("SELECT bytes FROM spec WHERE workspace = :workspace AND digest = :digest")
_load_steps = Statement(f"SELECT {_STEP} FROM " + _PAIRS.format(table="step_run", first="node", second="item"))  # noqa: S608 - constants
_load_members = Statement(
    f"SELECT {_STEP} FROM step_run s WHERE s.run_no = :run_no AND s.node = :node AND s.item >= :low AND s.item < :high"  # noqa: S608 - constants
)
_load_all_running = Statement(f"SELECT {_STEP} FROM step_run s WHERE s.run_no = :run_no AND s.state = 'running'")  # noqa: S608 - constants
_load_groups = Statement(
    "SELECT s.node, s.parent_item, s.base, s.total, s.remaining, s.failed, s.skipped FROM "  # noqa: S608 - constants
    + _PAIRS.format(table="step_group", first="node", second="parent_item")
)
_load_items = Statement(
    "SELECT s.each_node, s.item, s.parent_item, s.path, s.value FROM " + _PAIRS.format(table="fan_item", first="each_node", second="item")  # noqa: S608 - constants
)
_load_attempts = Statement(
    "SELECT s.node, s.item, s.number, s.state, s.pool, s.incarnation, s.runner, s.made_at, s.sent_at, s.started_at, s.ended_at, s.failure, s.log, "  # noqa: S608 - constants
    "s.seconds, s.cpu_seconds, s.peak_memory FROM "
    + _PAIRS.format(table="attempt", first="node", second="item")
    + " AND s.number = json_extract(k.value, '$[2]')"
)
_load_cache = Statement(
    "SELECT s.key, s.outputs, s.run_no, s.made_at, s.checked_at, s.node, s.item, s.seconds FROM json_each(:keys) k "
    "CROSS JOIN cache_entry s WHERE s.workspace = :workspace AND s.key = k.value"
)
_load_counter = Statement("SELECT next_item FROM fan_counter WHERE run_no = :run_no AND each_node = :each_node")
_insert_step = Statement.insert(tables.step_run)
_update_step = Statement(
    "UPDATE step_run SET state = :state, waiting = waiting + :waiting, attempts = :attempts, failures = :failures, losses = :losses, "
    '"cursor" = :cursor, flags = :flags, "key" = :key, inputs = :inputs, outputs = :outputs, hit_run = :hit_run, hit_at = :hit_at, '
    "reason = :reason, failure = :failure, started_at = :started_at, ended_at = :ended_at "
    "WHERE run_no = :run_no AND node = :node AND item = :item"
)
_sweep = Statement(
    "UPDATE step_run SET waiting = waiting - 1 WHERE run_no = :run_no AND node = :node AND item >= :low AND item < :high AND state = 'waiting'"
)
_put_group = Statement.insert(
    tables.step_group,
    otherwise="ON CONFLICT (run_no, node, parent_item) DO UPDATE SET total = excluded.total, remaining = excluded.remaining, "
    "failed = excluded.failed, skipped = excluded.skipped",
)
_insert_item = Statement.insert(tables.fan_item)
_put_counter = Statement.insert(tables.fan_counter, otherwise="ON CONFLICT (run_no, each_node) DO UPDATE SET next_item = excluded.next_item")
_put_attempt = Statement.insert(
    tables.attempt,
    otherwise="ON CONFLICT (run_no, node, item, number) DO UPDATE SET state = excluded.state, runner = excluded.runner, "
    "started_at = excluded.started_at, ended_at = excluded.ended_at, failure = excluded.failure, log = excluded.log, "
    "seconds = excluded.seconds, cpu_seconds = excluded.cpu_seconds, peak_memory = excluded.peak_memory",
)
_insert_ready = Statement.insert(tables.ready)
_delete_ready = Statement("DELETE FROM ready WHERE run_no = :run_no AND node = :node AND item = :item")
_load_share = Statement(
    "SELECT max((SELECT coalesce(max(tag), 0) FROM fair_share WHERE workspace = :workspace AND pool = :pool AND run_no = :run_no), "
    "(SELECT coalesce(max(tag), 0) FROM fair_share WHERE workspace = :workspace AND pool = :pool AND run_no = 0))"
)
_put_share = Statement.insert(tables.fair_share, otherwise="ON CONFLICT (workspace, pool, run_no) DO UPDATE SET tag = excluded.tag")
_put_timer = Statement.insert(tables.timer, otherwise="ON CONFLICT (run_no, kind, node, item) DO UPDATE SET fire_at = excluded.fire_at")
_delete_timer = Statement("DELETE FROM timer WHERE run_no = :run_no AND kind = :kind AND node = :node AND item = :item")
_put_cache = Statement.insert(
    tables.cache_entry,
    otherwise="ON CONFLICT (workspace, key) DO UPDATE SET outputs = excluded.outputs, run_no = excluded.run_no, "
    "made_at = excluded.made_at, checked_at = excluded.checked_at, node = excluded.node, item = excluded.item, seconds = excluded.seconds",
)
_touch_cache = Statement('UPDATE cache_entry SET checked_at = :at WHERE workspace = :workspace AND "key" = :key')
_drop_cache = Statement('DELETE FROM cache_entry WHERE workspace = :workspace AND "key" = :key')
_end_flight = Statement('DELETE FROM flight WHERE workspace = :workspace AND "key" = :key')
_put_artifact = Statement.insert(tables.artifact, otherwise="ON CONFLICT (workspace, digest) DO UPDATE SET state = 'kept'")
_lose_artifact = Statement("UPDATE artifact SET state = 'missing' WHERE workspace = :workspace AND digest = :digest")
_use_artifact = Statement.insert(tables.artifact_use, otherwise="ON CONFLICT DO NOTHING")
_insert_metric = Statement.insert(tables.metric, otherwise="ON CONFLICT DO NOTHING")
_put_attachment = Statement.insert(tables.attachment, otherwise="ON CONFLICT (run_no, node, item, name) DO UPDATE SET ref = excluded.ref")
_insert_moment = Statement.insert(tables.timeline)
_update_run = Statement(
    'UPDATE run SET state = :state, owner = :owner, "open" = :open, seq = :seq, stop = :stop, error = :error, outputs = :outputs, '
    "started_at = :started_at, ended_at = :ended_at WHERE run_no = :run_no"
)
_UNBEGUN = "('waiting', 'checking', 'ready', 'parked', 'backoff', 'expanding', 'collecting')"
_cancel_unbegun = Statement(
    f"UPDATE step_run SET state = 'cancelled', reason = :reason, ended_at = :now WHERE run_no = :run_no AND state IN {_UNBEGUN}"  # noqa: S608 - constants
)
_clear_ready = Statement("DELETE FROM ready WHERE run_no = :run_no")
_clear_timers = Statement("DELETE FROM timer WHERE run_no = :run_no")
_count_running = Statement("SELECT count(*) FROM step_run WHERE run_no = :run_no AND state = 'running'")
_load_running = Statement("SELECT node, item, attempts FROM step_run WHERE run_no = :run_no AND state = 'running'")


def load_run(connection: Connection, run_no: int) -> RunRow | None:
    """The run of that number."""
    row = _load_run.first(connection, run_no=run_no)
    if row is None:
        return None
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
    row = _load_spec.first(connection, workspace=run.workspace, digest=run.spec_digest)
    if row is None:
        raise LookupError(f"the spec {run.spec_digest} of run {run.run_id} is not in the store")
    return plan_of(bytes(row[0]))


def decide(connection: Connection, run: RunRow, facts: Sequence[Fact], circumstances: Circumstances) -> Decision:
    """Decides what `facts` mean for the run and writes the result."""
    decision = Decision(plan=load_plan(connection, run), run=run, circumstances=circumstances)
    for want in decision.decide(facts):
        load(connection, decision, want)
    write(connection, decision)
    return decision


def load(connection: Connection, decision: Decision, want: Want) -> None:
    """Loads what a decision wants into its slice; rows that it already holds are never replaced."""
    run_no = decision.run.run_no
    match want:
        case StepRuns():
            if want.keys:
                _take_steps(decision, _load_steps.rows(connection, run_no=run_no, keys=json.dumps(want.keys)))
        case Members():
            _take_steps(decision, _load_members.rows(connection, run_no=run_no, node=want.node, low=want.base, high=want.base + want.count))
        case Running():
            _take_steps(decision, _load_all_running.rows(connection, run_no=run_no))
        case Groups():
            if want.keys:
                for values in _load_groups.rows(connection, run_no=run_no, keys=json.dumps(want.keys)):
                    decision.groups.setdefault((values[0], values[1]), GroupRow(*values))
        case Items():
            _take_items(connection, decision, [key for key in want.keys if key not in decision.items])
        case Attempts():
            for values in _load_attempts.rows(connection, run_no=run_no, keys=json.dumps(want.keys)):
                row = AttemptRow(*values)
                row.state = AttemptState(row.state)
                decision.attempts.setdefault((row.node, row.item, row.number), row)
        case CacheEntries():
            if want.keys:
                found = {v[0]: CacheRow(*v) for v in _load_cache.rows(connection, workspace=decision.run.workspace, keys=json.dumps(want.keys))}
                for key in want.keys:
                    decision.cache.setdefault(key, found.get(key))
        case NextItem():
            for each in want.eaches:
                counter = _load_counter.first(connection, run_no=run_no, each_node=each)
                decision.next_item.setdefault(each, counter[0] if counter else 0)
        case Pins():
            _take_pins(connection, decision, want.keys)


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


def write(connection: Connection, decision: Decision) -> None:
    """Writes everything that a decision changed."""
    run, changes = decision.run, decision.changes
    for node, low, high in changes.sweeps:
        # Before the rows of the slice: those are written by difference.
        _sweep(connection, run_no=run.run_no, node=node, low=low, high=high)
    _write_steps(connection, decision)
    _write_fans(connection, decision)
    _put_attempt.many(connection, [_attempt_values(run.run_no, decision.attempts[key]) for key in sorted(decision.dirty_attempts)])
    _write_queue(connection, run, changes)
    _write_cache(connection, run, changes, decision.now)
    for finding in changes.findings:
        _write_finding(connection, run, finding, decision.now)
    if changes.stop is not None:
        _stop(connection, run, changes, decision.now)
    _write_timeline(connection, run, changes, decision.now)
    if run.state.is_terminal:
        _clear_timers(connection, run_no=run.run_no)
    _update_run(
        connection,
        **{name: getattr(run, name) for name in ("owner", "open", "seq", "stop", "error", "outputs", "started_at", "ended_at", "run_no")},
        state=run.state.value,
    )


def _write_steps(connection: Connection, decision: Decision) -> None:
    run_no = decision.run.run_no
    new, old = [], []
    for key, waited in decision.dirty_steps.items():
        row = decision.steps[key]
        values = {
            "run_no": run_no, "node": row.node, "item": row.item, "parent_item": row.parent_item, "state": row.state.value,
            "waiting": row.waiting, "attempts": row.attempts, "failures": row.failures, "losses": row.losses, "cursor": row.cursor,
            "flags": row.flags, "key": row.key, "inputs": row.inputs, "outputs": row.outputs, "hit_run": row.hit_run, "hit_at": row.hit_at,
            "reason": row.reason, "failure": row.failure, "started_at": row.started_at, "ended_at": row.ended_at,
        }  # fmt: skip
        if row.is_new:
            new.append(values)
        else:
            values["waiting"] = row.waiting - waited
            old.append(values)
    _insert_step.many(connection, new)
    _update_step.many(connection, old)


def _write_fans(connection: Connection, decision: Decision) -> None:
    run_no = decision.run.run_no
    groups = [decision.groups[key] for key in decision.dirty_groups]
    _put_group.many(
        connection,
        [
            {
                "run_no": run_no, "node": group.node, "parent_item": group.parent_item, "base": group.base, "total": group.total,
                "remaining": group.remaining, "failed": group.failed, "skipped": group.skipped,
            }
            for group in groups
        ],
    )  # fmt: skip
    _insert_item.many(
        connection,
        [
            {"run_no": run_no, "each_node": item.each, "item": item.item, "parent_item": item.parent_item, "path": json.dumps(item.path), "value": item.value}
            for item in decision.new_items
        ],
    )
    _put_counter.many(connection, [{"run_no": run_no, "each_node": each, "next_item": number} for each, number in decision.next_item.items()])


def _attempt_values(run_no: int, row: AttemptRow) -> dict[str, Any]:
    names = ("node", "item", "number", "pool", "incarnation", "runner", "made_at", "sent_at", "started_at", "ended_at", "failure", "log", "seconds", "cpu_seconds", "peak_memory")
    return {"run_no": run_no, "state": row.state.value, **{name: getattr(row, name) for name in names}}


def _write_queue(connection: Connection, run: RunRow, changes: Changes) -> None:
    tags: dict[str, int] = {}
    rows = []
    for ready in changes.ready:
        if ready.pool not in tags:
            tags[ready.pool] = _load_share.number(connection, workspace=run.workspace, pool=ready.pool, run_no=run.run_no)
        tags[ready.pool] += 1
        rows.append(
            {
                "workspace": run.workspace, "pool": ready.pool, "urgency": -ready.priority, "fair": tags[ready.pool],
                "run_no": run.run_no, "node": ready.node, "item": ready.item,
            }
        )  # fmt: skip
    _insert_ready.many(connection, rows)
    _put_share.many(connection, [{"workspace": run.workspace, "pool": pool, "run_no": run.run_no, "tag": tag} for pool, tag in tags.items()])
    _delete_ready.many(connection, [{"run_no": run.run_no, "node": node, "item": item} for node, item in changes.unready])
    _delete_timer.many(connection, [{"run_no": run.run_no, "kind": kind, "node": place[0], "item": place[1]} for kind, place in changes.timers_done])
    _put_timer.many(
        connection, [{"run_no": run.run_no, "kind": t.kind, "node": t.node, "item": t.item, "fire_at": t.fire_at} for t in changes.timers]
    )


def _write_cache(connection: Connection, run: RunRow, changes: Changes, now: int) -> None:
    workspace = run.workspace
    _drop_cache.many(connection, [{"workspace": workspace, "key": key} for key in changes.cache_dropped])
    _put_cache.many(
        connection,
        [
            {
                "workspace": workspace, "key": e.key, "outputs": e.outputs, "run_no": e.run_no, "made_at": e.made_at, "checked_at": e.checked_at,
                "node": e.node, "item": e.item, "seconds": e.seconds,
            }
            for e in changes.cache
        ],
    )  # fmt: skip
    _touch_cache.many(connection, [{"workspace": workspace, "key": key, "at": at} for key, at in changes.cache_touched])
    _lose_artifact.many(connection, [{"workspace": workspace, "digest": digest} for digest in changes.lost_digests])
    _end_flight.many(connection, [{"workspace": workspace, "key": key} for key in changes.flights_over])


def _write_finding(connection: Connection, run: RunRow, finding: Finding, now: int) -> None:
    place = {"run_no": run.run_no, "node": finding.node, "item": finding.item}
    report = finding.report
    named: list[tuple[str, Value]] = [*report.outputs.items(), *((f"attachment {name}", ref) for name, ref in report.attachments.items())]
    if report.log is not None:
        named.append(("log", report.log))
    record_uses(connection, run.workspace, place, named, now)
    _insert_metric.many(
        connection,
        [
            {**place, "attempt": finding.attempt, "position": i, "name": metric.name, "step": metric.step, "value": metric.value}
            for i, metric in enumerate(report.metrics)
        ],
    )
    _put_attachment.many(
        connection, [{**place, "name": name, "ref": ref.model_dump_json(exclude_defaults=True).encode()} for name, ref in report.attachments.items()]
    )


def record_uses(connection: Connection, workspace: str, place: dict[str, int], named: list[tuple[str, Value]], now: int) -> None:
    """Writes down which stored artifacts are used by whom, so that collection keeps them."""
    refs = [(name, ref) for name, value in named for ref in refs_in(value) if not ref.is_inline]
    _put_artifact.many(
        connection,
        [{"workspace": workspace, "digest": ref.digest, "kind": ref.kind, "size": ref.size, "state": "kept", "created_at": now} for _, ref in refs],
    )
    _use_artifact.many(connection, [{**place, "digest": ref.digest, "role": name} for name, ref in refs])


def _stop(connection: Connection, run: RunRow, changes: Changes, now: int) -> None:
    """Reaches what is not in the slice: everything that does not run is cancelled, what runs is asked to end."""
    _cancel_unbegun(connection, run_no=run.run_no, reason=f"the run was {changes.stop}", now=now)
    _clear_ready(connection, run_no=run.run_no)
    _clear_timers(connection, run_no=run.run_no)
    run.open = _count_running.number(connection, run_no=run.run_no)
    if run.open:
        _put_timer(connection, run_no=run.run_no, kind="abandon", node=-1, item=0, fire_at=now + GRACE_MICROSECONDS)


def running_attempts(connection: Connection, run_no: int) -> list[tuple[int, int, int]]:
    """(node, item, attempt) of everything that a run executes now."""
    return [(row[0], row[1], row[2]) for row in _load_running.rows(connection, run_no=run_no)]


def _write_timeline(connection: Connection, run: RunRow, changes: Changes, now: int) -> None:
    rows = []
    for moment in changes.moments:
        run.seq += 1
        rows.append(
            {
                "run_no": run.run_no, "seq": run.seq, "at": now, "type": moment.type, "node": moment.node, "item": moment.item,
                "attempt": moment.attempt, "data": json.dumps(moment.data) if moment.data else None,
            }
        )  # fmt: skip
    _insert_moment.many(connection, rows)
