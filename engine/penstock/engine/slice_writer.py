"""Writes what a decision changed: rows, queues, cache, findings, timeline."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from penstock.engine import tables
from penstock.engine.artifact_uses import Use, record_uses
from penstock.engine.core.decision import Decision
from penstock.engine.core.rows import AttemptRow, RunRow, stopped_because
from penstock.engine.core.wants import (
    Changes,
    Finding,
)
from penstock.engine.people.approval_rows import withdraw_all, write_approvals
from penstock.engine.people.named_versions import write_versions
from penstock.engine.statement import Statement

GRACE_MICROSECONDS = 20_000_000
"""A stopped run waits so long for its runners to say that they have stopped."""
_insert_step = Statement.insert(tables.step_run)
_update_step = Statement(
    "UPDATE step_run SET state = CAST(:state AS TEXT), waiting = waiting + :waiting, "
    "due = CASE WHEN CAST(:state AS TEXT) = 'waiting' THEN CASE WHEN waiting + :waiting = 0 THEN 1 ELSE 0 END ELSE :due END, "
    'attempts = :attempts, failures = :failures, losses = :losses, "cursor" = :cursor, flags = :flags, "key" = :key, '
    "inputs = :inputs, outputs = :outputs, hit_run = :hit_run, hit_at = :hit_at, reason = :reason, failure = :failure, "
    "started_at = :started_at, ended_at = :ended_at WHERE run_no = :run_no AND node = :node AND item = :item",
    rows_differ=True,
)
_sweep = Statement(
    "UPDATE step_run SET waiting = waiting - 1, due = CASE WHEN waiting = 1 THEN 1 ELSE 0 END "
    "WHERE run_no = :run_no AND node = :node AND item >= :low AND item < :high AND state = 'waiting'"
)
_put_group = Statement.insert(
    tables.step_group,
    otherwise="ON CONFLICT (run_no, node, parent_item) DO UPDATE SET total = excluded.total, remaining = excluded.remaining, "
    "failed = excluded.failed, skipped = excluded.skipped",
)
_insert_item = Statement.insert(tables.fan_item)
_put_counter = Statement.insert(
    tables.fan_counter, otherwise="ON CONFLICT (run_no, each_node) DO UPDATE SET next_item = excluded.next_item"
)
_put_attempt = Statement.insert(
    tables.attempt,
    otherwise="ON CONFLICT (run_no, node, item, number) DO UPDATE SET state = excluded.state, incarnation = excluded.incarnation, "
    "runner = excluded.runner, started_at = excluded.started_at, ended_at = excluded.ended_at, failure = excluded.failure, "
    "log = excluded.log, seconds = excluded.seconds, cpu_seconds = excluded.cpu_seconds, peak_memory = excluded.peak_memory",
)
_insert_ready = Statement.insert(tables.ready)
_delete_ready = Statement("DELETE FROM ready WHERE run_no = :run_no AND node = :node AND item = :item")
_load_share = Statement("SELECT max(tag) FROM fair_share WHERE workspace = :workspace AND pool = :pool AND run_no IN (0, :run_no)")
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
_end_flight = Statement('DELETE FROM flight WHERE workspace = :workspace AND "key" = :key AND run_no = :run_no')
_lose_artifact = Statement("UPDATE artifact SET state = 'missing' WHERE workspace = :workspace AND digest = :digest")
_insert_metric = Statement.insert(tables.metric, otherwise="ON CONFLICT DO NOTHING")
_put_attachment = Statement.insert(tables.attachment, otherwise="ON CONFLICT (run_no, node, item, name) DO UPDATE SET ref = excluded.ref")
_insert_moment = Statement.insert(tables.timeline)
_update_run = Statement(
    'UPDATE run SET state = :state, owner = :owner, "open" = :open, seq = :seq, stop = :stop, error = :error, outputs = :outputs, '
    "tags = :tags, started_at = :started_at, ended_at = :ended_at WHERE run_no = :run_no"
)
_UNBEGUN = "('waiting', 'checking', 'ready', 'parked', 'backoff', 'expanding', 'collecting', 'asking')"
_cancel_unbegun = Statement(
    f"UPDATE step_run SET state = 'cancelled', due = 0, reason = :reason, ended_at = :now WHERE run_no = :run_no AND state IN {_UNBEGUN}"  # noqa: S608 - constants
)
_clear_ready = Statement("DELETE FROM ready WHERE run_no = :run_no")
_clear_timers = Statement("DELETE FROM timer WHERE run_no = :run_no")
_count_running = Statement("SELECT count(*) FROM step_run WHERE run_no = :run_no AND state = 'running'")
_load_running = Statement("SELECT node, item, attempts FROM step_run WHERE run_no = :run_no AND state = 'running'")


def write(connection: Connection, decision: Decision) -> None:
    """Writes everything that a decision changed."""
    run, changes = decision.run, decision.changes
    # Read before anything is written: what is written after another goes to a server together.
    tags = _shares(connection, run, changes)
    # Before the rows of the slice: those are written by difference.
    _sweep.many(connection, [{"run_no": run.run_no, "node": node, "low": low, "high": high} for node, low, high in changes.sweeps])
    _write_steps(connection, decision)
    _write_fans(connection, decision)
    _put_attempt.many(connection, [_attempt_values(run, decision.attempts[key]) for key in sorted(decision.dirty_attempts)])
    _write_queue(connection, run, changes, tags, decision.now)
    _write_cache(connection, run, changes, decision.now)
    _write_findings(connection, run, changes.findings, decision.now)
    write_approvals(connection, run, changes, decision.now)
    if changes.stop is not None:
        _stop(connection, run, changes, decision.now)
    write_versions(connection, run.workspace, changes.registrations, made_by=run.name, run_no=run.run_no, now=decision.now)
    _write_timeline(connection, run, changes, decision.now)
    if run.state.is_terminal:
        _clear_timers(connection, run_no=run.run_no)
    names = ("owner", "open", "seq", "stop", "error", "outputs", "started_at", "ended_at", "run_no")
    values = {name: getattr(run, name) for name in names}
    _update_run.many(connection, [{**values, "state": run.state.value, "tags": json.dumps(run.tags)}])


def _write_steps(connection: Connection, decision: Decision) -> None:
    run_no = decision.run.run_no
    new: list[dict[str, Any]] = []
    old: list[dict[str, Any]] = []
    for key, waited in decision.dirty_steps.items():
        row = decision.steps[key]
        values = {
            "run_no": run_no, "node": row.node, "item": row.item, "parent_item": row.parent_item, "state": row.state.value,
            "waiting": row.waiting, "attempts": row.attempts, "failures": row.failures, "losses": row.losses,
            "cursor": row.cursor, "flags": row.flags, "due": int(row.is_due), "key": row.key, "inputs": row.inputs,
            "outputs": row.outputs, "hit_run": row.hit_run, "hit_at": row.hit_at, "reason": row.reason,
            "failure": row.failure, "started_at": row.started_at, "ended_at": row.ended_at,
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
    groups = [decision.groups[key] for key in sorted(decision.dirty_groups)]
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
            {
                "run_no": run_no,
                "each_node": item.each,
                "item": item.item,
                "parent_item": item.parent_item,
                "path": json.dumps(item.path),
                "value": item.value,
            }
            for item in decision.new_items
        ],
    )
    _put_counter.many(
        connection, [{"run_no": run_no, "each_node": each, "next_item": number} for each, number in decision.next_item.items()]
    )


def _attempt_values(run: RunRow, row: AttemptRow) -> dict[str, Any]:
    names = (
        "node",
        "item",
        "number",
        "pool",
        "slots",
        "incarnation",
        "runner",
        "made_at",
        "sent_at",
        "started_at",
        "ended_at",
        "failure",
        "log",
        "seconds",
        "cpu_seconds",
        "peak_memory",
    )
    return {"run_no": run.run_no, "workspace": run.workspace, "state": row.state.value, **{name: getattr(row, name) for name in names}}


def _shares(connection: Connection, run: RunRow, changes: Changes) -> dict[str, int]:
    """How much the run has had of each pool that it wants more of."""
    return {
        pool: _load_share.number(connection, workspace=run.workspace, pool=pool, run_no=run.run_no)
        for pool in sorted({ready.pool for ready in changes.ready})
    }


def _write_queue(connection: Connection, run: RunRow, changes: Changes, tags: dict[str, int], now: int) -> None:
    rows: list[dict[str, Any]] = []
    for ready in changes.ready:
        tags[ready.pool] += 1
        rows.append(
            {
                "workspace": run.workspace, "pool": ready.pool, "urgency": -ready.priority, "fair": tags[ready.pool],
                "run_no": run.run_no, "node": ready.node, "item": ready.item, "since": now, "slots": ready.slots,
            }
        )  # fmt: skip
    _insert_ready.many(connection, rows)
    _put_share.many(
        connection, [{"workspace": run.workspace, "pool": pool, "run_no": run.run_no, "tag": tag} for pool, tag in tags.items()]
    )
    _delete_ready.many(connection, [{"run_no": run.run_no, "node": node, "item": item} for node, item in changes.unready])
    _delete_timer.many(
        connection, [{"run_no": run.run_no, "kind": kind, "node": place[0], "item": place[1]} for kind, place in changes.timers_done]
    )
    _put_timer.many(
        connection, [{"run_no": run.run_no, "kind": t.kind, "node": t.node, "item": t.item, "fire_at": t.fire_at} for t in changes.timers]
    )


def _write_cache(connection: Connection, run: RunRow, changes: Changes, now: int) -> None:
    workspace = run.workspace
    # In the order of their keys, since other runs write some of these rows too.
    _drop_cache.many(connection, [{"workspace": workspace, "key": key} for key in sorted(changes.cache_dropped)])
    _put_cache.many(
        connection,
        [
            {
                "workspace": workspace, "key": e.key, "outputs": e.outputs, "run_no": e.run_no, "made_at": e.made_at,
                "checked_at": e.checked_at, "node": e.node, "item": e.item, "seconds": e.seconds,
            }
            for e in sorted(changes.cache, key=lambda entry: entry.key)
        ],
    )  # fmt: skip
    _touch_cache.many(connection, [{"workspace": workspace, "key": key, "at": at} for key, at in sorted(changes.cache_touched)])
    _lose_artifact.many(connection, [{"workspace": workspace, "digest": digest} for digest in sorted(changes.lost_digests)])
    _end_flight.many(connection, [{"workspace": workspace, "key": key, "run_no": run.run_no} for key in sorted(changes.flights_over)])


def _write_findings(connection: Connection, run: RunRow, findings: Sequence[Finding], now: int) -> None:
    uses: list[Use] = []
    metrics: list[dict[str, Any]] = []
    attachments: list[dict[str, Any]] = []
    for finding in findings:
        place = {"run_no": run.run_no, "node": finding.node, "item": finding.item}
        report = finding.report
        uses += [(place, name, value) for name, value in report.outputs.items()]
        uses += [(place, f"attachment {name}", ref) for name, ref in report.attachments.items()]
        uses += [(place, "log", report.log)] if report.log is not None else []
        metrics += [
            {**place, "attempt": finding.attempt, "position": i, "name": metric.name, "step": metric.step, "value": metric.value}
            for i, metric in enumerate(report.metrics)
        ]
        attachments += [
            {**place, "name": name, "ref": ref.model_dump_json(exclude_defaults=True).encode()} for name, ref in report.attachments.items()
        ]
    record_uses(connection, run.workspace, uses, now)
    _insert_metric.many(connection, metrics)
    _put_attachment.many(connection, attachments)


def _stop(connection: Connection, run: RunRow, changes: Changes, now: int) -> None:
    """Reaches what is not in the slice: everything that does not run is cancelled, what runs is asked to end."""
    _cancel_unbegun(connection, run_no=run.run_no, reason=stopped_because(changes.stop), now=now)
    _clear_ready(connection, run_no=run.run_no)
    _clear_timers(connection, run_no=run.run_no)
    withdraw_all(connection, run.run_no, now)
    run.open = _count_running.number(connection, run_no=run.run_no)
    if run.open:
        _put_timer(connection, run_no=run.run_no, kind="abandon", node=-1, item=0, fire_at=now + GRACE_MICROSECONDS)


def running_attempts(connection: Connection, run_no: int) -> list[tuple[int, int, int]]:
    """(node, item, attempt) of everything that a run executes now."""
    return [(row[0], row[1], row[2]) for row in _load_running.rows(connection, run_no=run_no)]


def _write_timeline(connection: Connection, run: RunRow, changes: Changes, now: int) -> None:
    rows: list[dict[str, Any]] = []
    for moment in changes.moments:
        run.seq += 1
        rows.append(
            {
                "run_no": run.run_no, "seq": run.seq, "at": now, "type": moment.type, "node": moment.node, "item": moment.item,
                "attempt": moment.attempt, "data": json.dumps(moment.data) if moment.data else None,
            }
        )  # fmt: skip
    _insert_moment.many(connection, rows)
