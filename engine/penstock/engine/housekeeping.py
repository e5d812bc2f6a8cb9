"""Keeping house: what the cache holds, forgetting runs and cache entries, and which artifacts nobody uses any more."""

import json

from sqlalchemy import Connection

from penstock.contracts.artifacts import Value, refs_in
from penstock.contracts.errors import InvalidInput
from penstock.contracts.views import CacheStats
from penstock.engine.core.plan import plan_of
from penstock.engine.core.rows import unpack_values
from penstock.engine.statement import Statement

_entries = Statement("SELECT count(*) FROM cache_entry WHERE workspace = :workspace")
_saved = Statement(
    "SELECT count(*), coalesce(sum(c.seconds), 0) FROM step_run s JOIN run u ON u.run_no = s.run_no "
    'LEFT JOIN cache_entry c ON c.workspace = u.workspace AND c."key" = s."key" WHERE u.workspace = :workspace AND s.hit_run IS NOT NULL'
)
_artifacts = Statement(
    "SELECT count(*), CAST(coalesce(sum(size), 0) AS BIGINT) FROM artifact WHERE workspace = :workspace AND state = 'kept'"
)
_by_node = Statement(
    "SELECT u.pipeline, u.spec_digest, c.node, count(*) FROM cache_entry c JOIN run u ON u.run_no = c.run_no "
    "WHERE c.workspace = :workspace GROUP BY u.pipeline, u.spec_digest, c.node"
)
_keys_of = Statement(
    'SELECT c."key" FROM cache_entry c JOIN run u ON u.run_no = c.run_no '
    "WHERE c.workspace = :workspace AND u.pipeline = :pipeline AND u.spec_digest = :digest AND c.node = :node"
)
_spec = Statement("SELECT bytes FROM spec WHERE workspace = :workspace AND digest = :digest")
_drop_entry = Statement('DELETE FROM cache_entry WHERE workspace = :workspace AND "key" = :key')
_drop_old = Statement("DELETE FROM cache_entry WHERE workspace = :workspace AND greater_of(made_at, checked_at) < :before")
_count_old = Statement("SELECT count(*) FROM cache_entry WHERE workspace = :workspace AND greater_of(made_at, checked_at) < :before")
_cached_outputs = Statement("SELECT outputs FROM cache_entry WHERE workspace = :workspace AND greater_of(made_at, checked_at) >= :before")
_used = Statement("SELECT DISTINCT digest FROM artifact_use")
_forget_artifacts = Statement("DELETE FROM artifact WHERE digest IN (SELECT text_of(d) FROM elements(:digests) d)")
_live = Statement("SELECT name, owner FROM run WHERE workspace = :workspace AND ended_at IS NULL")
_TABLES_OF_RUN = (
    "step_run", "step_group", "approval", "fan_item", "fan_counter", "attempt", "ready", "fair_share", "timer", "artifact_use", "metric",
    "attachment", "timeline", "flight", "run",
)  # fmt: skip
# What it registered stays, and is nobody's.
_disown = Statement("UPDATE named_artifact SET run_no = NULL WHERE run_no = :run_no")
_forget = [Statement(f"DELETE FROM {table} WHERE run_no = :run_no") for table in _TABLES_OF_RUN]  # noqa: S608 - constants


def cache_stats(connection: Connection, workspace: str) -> CacheStats:
    """What the cache holds and what it saved."""
    hits, seconds = _saved.rows(connection, workspace=workspace)[0]
    artifacts, size = _artifacts.rows(connection, workspace=workspace)[0]
    counts: dict[str, int] = {}
    for pipeline, digest, node, count in _by_node.rows(connection, workspace=workspace):
        label = f"{pipeline}.{_step_name(connection, workspace, digest, node)}"
        counts[label] = counts.get(label, 0) + count
    return CacheStats(
        entries=_entries.number(connection, workspace=workspace),
        hits=hits,
        hit_seconds=seconds,
        artifacts=artifacts,
        artifact_bytes=size,
        entries_by_step=dict(sorted(counts.items())),
    )


def _step_name(connection: Connection, workspace: str, digest: str, node: int) -> str:
    row = _spec.first(connection, workspace=workspace, digest=digest)
    return plan_of(bytes(row[0])).nodes[node].name if row is not None else "?"


def cache_clear(connection: Connection, workspace: str, pipeline: str | None, step: str | None) -> int:
    """Forgets the cache entries of a pipeline or step (None: of all); how many. The next run computes them again."""
    keys: list[str] = []
    for of, digest, node, _ in _by_node.rows(connection, workspace=workspace):
        if pipeline in (None, of) and step in (None, _step_name(connection, workspace, digest, node)):
            keys += [row[0] for row in _keys_of.rows(connection, workspace=workspace, pipeline=of, digest=digest, node=node)]
    _drop_entry.many(connection, [{"workspace": workspace, "key": key} for key in keys])
    return len(keys)


def remove_run(connection: Connection, run_no: int) -> None:
    """Forgets a run that has ended, with everything recorded about it. Cache entries that it made stay."""
    for statement in (_disown, *_forget):
        statement(connection, run_no=run_no)


def live_runs(connection: Connection, workspace: str) -> list[tuple[str, str | None]]:
    """(name, owner) of every run that has not ended."""
    return [(row[0], row[1]) for row in _live.rows(connection, workspace=workspace)]


def drop_old_entries(connection: Connection, workspace: str, before: int, *, dry_run: bool) -> int:
    """Forgets cache entries that nobody used since `before`; how many."""
    if dry_run:
        return _count_old.number(connection, workspace=workspace, before=before)
    return _drop_old(connection, workspace=workspace, before=before)


def roots(connection: Connection, workspace: str, before: int) -> set[str]:
    """The digests that runs, or cache entries used since `before`, refer to; lists and directories refer to more in their bytes."""
    found = {row[0] for row in _used.rows(connection)}
    for row in _cached_outputs.rows(connection, workspace=workspace, before=before):
        values: dict[str, Value] = unpack_values(row[0])
        found |= {ref.digest for value in values.values() for ref in refs_in(value) if not ref.is_inline}
    return found


def forget_artifacts(connection: Connection, digests: list[str]) -> None:
    """Their bytes are gone."""
    _forget_artifacts(connection, digests=json.dumps(digests))


def checked_terminal(name: str, state: str, ended_at: int | None) -> None:
    """:raises InvalidInput: the run has not ended."""
    if ended_at is None:
        raise InvalidInput(f"the run {name} is {state}: cancel it first (`penstock runs cancel {name}`)")
