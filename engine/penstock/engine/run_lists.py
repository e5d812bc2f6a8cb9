"""Lists of runs and of what is in them, page by page. Read-only."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.artifacts import Value, refs_in
from penstock.contracts.views import Lineage, MetricView, Moment, RunView, StepRunView, Use
from penstock.engine.queries import RUN_COLUMNS, plan_of_run, run_view, step_run_views
from penstock.engine.statement import Statement

FIRST = 2**62
"""Above every run's number."""
LINKED_RUNS = 20
"""Runs in which the users of an artifact are looked for, the newest first."""
_STEP_RUNS = 10_000

_runs = Statement(
    f"SELECT {RUN_COLUMNS} FROM run u WHERE u.workspace = :workspace AND u.run_no < :before "  # noqa: S608 - constants
    "AND (CAST(:pipeline AS TEXT) IS NULL OR u.pipeline = :pipeline) AND (CAST(:state AS TEXT) IS NULL OR u.state = :state) "
    "AND (CAST(:experiment AS TEXT) IS NULL OR u.experiment = :experiment) AND u.created_at >= :since AND u.created_at < :until "
    "AND (CAST(:tag AS TEXT) IS NULL OR text_at(u.tags, :tag) = :tag_value) "
    "AND (CAST(:cause AS TEXT) IS NULL OR coalesce(text_at(u.cause, :kind_word), :manual_word) = :cause) "
    "AND (CAST(:trigger AS TEXT) IS NULL OR text_at(u.cause, :trigger_word) = :trigger) ORDER BY u.run_no DESC LIMIT :count"
)
_moments = Statement(
    'SELECT seq, "at", type, node, item, attempt, data FROM timeline WHERE run_no = :run_no AND seq > :after ORDER BY seq LIMIT :count'
)
_users = Statement(
    "SELECT DISTINCT a.run_no, a.node, a.item, a.role FROM artifact_use a JOIN run u ON u.run_no = a.run_no AND u.workspace = :workspace "
    "WHERE a.digest = :digest ORDER BY a.run_no DESC LIMIT :count"
)
_run_of = Statement(f"SELECT {RUN_COLUMNS} FROM run u WHERE u.run_no = :run_no")  # noqa: S608 - constants
_known = Statement("SELECT size, kind, created_at FROM artifact WHERE workspace = :workspace AND digest = :digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """None stands for any. `tag` is `(name, value)`; times are microseconds since 1970, `until` exclusive."""

    pipeline: str | None = None
    state: str | None = None
    experiment: str | None = None
    tag: tuple[str, str] | None = None
    cause: str | None = None
    trigger: str | None = None
    since: int = 0
    until: int = 2**62


def runs_before(
    connection: Connection, workspace: str, wanted: RunFilter, before: int, count: int, now: int
) -> list[tuple[tuple[int], RunView]]:
    """The newest runs with numbers below `before`, without their steps."""
    rows = _runs.rows(
        connection,
        workspace=workspace,
        before=before,
        pipeline=wanted.pipeline,
        state=wanted.state,
        experiment=wanted.experiment,
        since=wanted.since,
        until=wanted.until,
        tag=wanted.tag[0] if wanted.tag is not None else None,
        tag_value=wanted.tag[1] if wanted.tag is not None else None,
        cause=wanted.cause,
        trigger=wanted.trigger,
        kind_word="kind",
        manual_word="manual",
        trigger_word="trigger",
        count=count,
    )
    return [((int(row[0]),), run_view(connection, row, now, with_steps=False)) for row in rows]


def moments_after(connection: Connection, row: tuple[Any, ...], after: int, count: int) -> list[tuple[tuple[int], Moment]]:
    """The timeline of a run, from behind the entry `after`: gap-free, in the order in which it was committed."""
    nodes = plan_of_run(connection, row).nodes
    found: list[tuple[tuple[int], Moment]] = []
    for seq, at, kind, node, item, attempt, data in _moments.rows(connection, run_no=row[0], after=after, count=count):
        step = nodes[int(node)].name if node is not None and 0 <= node < len(nodes) else None
        moment = Moment(seq=seq, at=at, type=kind, step=step, item=item, attempt=attempt, data=json.loads(data) if data else {})
        found.append(((seq,), moment))
    return found


def metrics_of(connection: Connection, row: tuple[Any, ...], step: str | None, name: str | None, now: int) -> list[MetricView]:
    """The metrics of a run; those of hits are those of the step runs that made their outputs."""
    views = step_run_views(connection, row, step, _STEP_RUNS, now)
    return [
        MetricView(step=view.step, index=view.index, name=metric.name, at_step=metric.step, value=metric.value)
        for view in views
        for metric in view.metrics
        if name in (None, metric.name)
    ]


def lineage(connection: Connection, workspace: str, digest: str, now: int) -> Lineage | None:
    """Which step runs made an artifact and which read it, in the newest runs that have to do with it; None: nobody here knows it."""
    known = _known.first(connection, workspace=workspace, digest=digest)
    if known is None:
        return None
    uses = _users.rows(connection, workspace=workspace, digest=digest, count=_STEP_RUNS)
    makers: list[Use] = []
    readers: list[Use] = []
    for run_no in list(dict.fromkeys(use[0] for use in uses))[:LINKED_RUNS]:
        row = _run_of.first(connection, run_no=run_no)
        if row is not None:
            makers += [Use(run=row[3], name=use[3].removeprefix("parameter ")) for use in uses if use[0] == run_no and use[1] < 0]
            for view in step_run_views(connection, row, None, _STEP_RUNS, now):
                makers += _uses(row[3], view, view.outputs, digest)
                readers += _uses(row[3], view, view.inputs, digest)
    return Lineage(digest=digest, size=known[0], kind=known[1], created_at=known[2], made_by=tuple(makers), read_by=tuple(readers))


def _uses(run: str, view: StepRunView, values: dict[str, Value], digest: str) -> Iterator[Use]:
    for name, value in values.items():
        if any(ref.digest == digest for ref in refs_in(value)):
            yield Use(run=run, step=view.step, index=view.index, name=name, hit=view.hit)
