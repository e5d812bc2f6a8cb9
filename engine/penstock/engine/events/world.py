"""What deciding needs to know inside of one transaction: the moment, the live triggers, published pipelines, runs that go on."""

from dataclasses import dataclass, field

from sqlalchemy import Connection

from penstock.contracts.errors import InvalidInput
from penstock.engine.events.records import Record
from penstock.engine.events.start_rows import Start
from penstock.engine.events.triggers import Trigger
from penstock.engine.published.versions import Resolved, resolve, spec_bytes
from penstock.engine.statement import Statement

# Of the runs that go on, which are few; a trigger may have started any number.
_going_on = Statement(
    "SELECT u.run_id, u.run_no, coalesce(u.stop, '') = 'cancelled' "
    "OR EXISTS (SELECT 1 FROM timer t WHERE t.run_no = u.run_no AND t.kind IN ('cancel', 'leave')) "
    "FROM (SELECT run_id, run_no, stop FROM run WHERE ended_at IS NULL AND workspace = :workspace) u "
    "CROSS JOIN looked_up(s) trigger_start s "
    "WHERE s.run_id = u.run_id AND scanned(s.trigger_no) = :trigger_no AND s.key = :key so_far(s) ORDER BY u.run_no"
)
_default = Statement(
    "SELECT v.version, v.spec_digest, v.state, v.note FROM published p JOIN published_version v ON v.workspace = p.workspace "
    "AND v.family = p.family AND v.name = p.name AND v.version = p.default_version "
    "WHERE p.workspace = :workspace AND p.family = 'pipeline' AND p.name = :name"
)
_states = Statement(
    "SELECT state FROM published_version WHERE workspace = :workspace AND family = 'pipeline' AND name = :name AND spec_digest = :digest"
)
_begun = Statement(
    "SELECT due_at FROM trigger_start WHERE trigger_no = :trigger_no AND state = 'started' AND due_at > :since "
    "ORDER BY due_at DESC LIMIT :count"
)
# In the order of its index: PostgreSQL would go through the table, where many wait.
_queued = Statement(
    "SELECT 1 FROM trigger_start WHERE trigger_no = :trigger_no AND state = 'queue' AND \"key\" = :key AND cause <> :cause "
    "ORDER BY made_at LIMIT 1"
)


SPECS = 64
_specs: dict[tuple[str, str], bytes] = {}
"""By workspace and digest, kept from one transaction to the next: what has a digest never changes."""


def _default_of(connection: Connection, workspace: str, reference: str) -> Resolved | None:
    """What most references lead to, in one statement and without the version's own triggers."""
    row = _default.first(connection, workspace=workspace, name=reference)
    return None if row is None else Resolved(name=reference, version=row[0], spec_digest=row[1], state=row[2], note=row[3])


@dataclass(slots=True)
class World:
    """`owner` is the process whose runs the new ones are, where several share a store."""

    connection: Connection
    now: int
    owner: str | None
    record: Record
    going_on: dict[tuple[int, str], list[tuple[str, int]]] = field(default_factory=dict[tuple[int, str], list[tuple[str, int]]])
    """Runs of a trigger with a concurrency key that have not ended, the oldest first."""
    begun: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    """When the last runs of a throttled trigger began, the newest first."""
    _pipelines: dict[tuple[str, str], Resolved | InvalidInput] = field(default_factory=dict[tuple[str, str], "Resolved | InvalidInput"])

    def pipeline(self, trigger: Trigger) -> Resolved:
        """The version that the trigger's pipeline leads to now.

        :raises InvalidInput: to none.
        """
        key = trigger.workspace, trigger.spec.pipeline
        if key not in self._pipelines:
            try:
                self._pipelines[key] = _default_of(self.connection, *key) or resolve(self.connection, *key)
            except InvalidInput as error:
                self._pipelines[key] = error
        found = self._pipelines[key]
        if isinstance(found, InvalidInput):
            raise found
        return found

    def is_disabled(self, trigger: Trigger, digest: str) -> bool:
        """Whether the version with that spec is disabled by now; it was not when the trigger decided. Another pipeline's never is: the
        trigger was changed since."""
        rows = _states.rows(self.connection, workspace=trigger.workspace, name=trigger.pipeline, digest=digest)
        return bool(rows) and all(state == "disabled" for (state,) in rows)

    def spec(self, workspace: str, digest: str) -> bytes:
        """Canonical bytes."""
        key = workspace, digest
        if key not in _specs:
            if len(_specs) >= SPECS:
                _specs.clear()
            _specs[key] = spec_bytes(self.connection, workspace, digest)
        return _specs[key]

    def live_runs(self, trigger: Trigger, key: str) -> list[tuple[str, int]]:
        """Those that count for the trigger's concurrency, the oldest first."""
        if (trigger.trigger_no, key) not in self.going_on:
            rows = _going_on.rows(self.connection, trigger_no=trigger.trigger_no, key=key, workspace=trigger.workspace)
            policy = trigger.spec.concurrency
            # What was asked to end still has its place, until it has ended; it is not to be replaced once more.
            replaces = policy is not None and policy.policy == "replace"
            self.going_on[trigger.trigger_no, key] = [(row[0], row[1]) for row in rows if not (replaces and row[2])]
        return self.going_on[trigger.trigger_no, key]

    def last_begun(self, trigger: Trigger, since: int, count: int) -> list[int]:
        """When the last `count` runs of the trigger began, the newest first."""
        if trigger.trigger_no not in self.begun:
            rows = _begun.rows(self.connection, trigger_no=trigger.trigger_no, since=since, count=count)
            self.begun[trigger.trigger_no] = [row[0] for row in rows]
        return [at for at in self.begun[trigger.trigger_no] if at > since][:count]

    def has_queue(self, trigger: Trigger, start: Start) -> bool:
        """Whether others of the trigger with its key wait their turn."""
        if trigger.spec.throttle is None and trigger.spec.concurrency is None:
            return False
        return _queued.first(self.connection, trigger_no=trigger.trigger_no, key=start.key, cause=start.cause) is not None

    def note_begun(self, trigger: Trigger, key: str, run_id: str, run_no: int) -> None:
        """A run of it was made in this transaction."""
        live = self.going_on.get((trigger.trigger_no, key))
        if live is not None and (run_id, run_no) not in live:
            live.append((run_id, run_no))
        if trigger.trigger_no in self.begun:
            self.begun[trigger.trigger_no].insert(0, self.now)
