"""Triggers as they are declared: versions that never change, one of them live under a name.

What an earlier version held, counted and waited for goes over to the version that takes its place.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Literal

from pydantic import ValidationError
from sqlalchemy import Connection

from penstock.contracts.encoding import canonical
from penstock.contracts.errors import InvalidInput
from penstock.contracts.triggers import AllSource, TriggerSpec, plain_trigger
from penstock.engine.core.plan import plan_of
from penstock.engine.events.inheritance import inherit, start_clocks
from penstock.engine.locks import lock_name, share_name
from penstock.engine.published.versions import resolve, spec_bytes
from penstock.engine.statement import Statement
from penstock.engine.triggers.checking import check_trigger

State = Literal["on", "paused", "inert"]

_COLUMNS = "trigger_no, workspace, name, version, pipeline, from_version, definition, state, made_at, made_by"
_live = Statement(f"SELECT {_COLUMNS} FROM trigger_version WHERE workspace = :workspace AND state <> 'superseded' ORDER BY name")  # noqa: S608 - constants
_named = Statement(
    f"SELECT {_COLUMNS} FROM trigger_version WHERE workspace = :workspace AND name = :name AND state <> 'superseded'"  # noqa: S608 - constants
)
_numbered = Statement(
    f"SELECT {_COLUMNS} FROM trigger_version WHERE trigger_no IN (SELECT number_of(n) FROM elements(:numbers) n) AND state <> 'superseded'"  # noqa: S608 - constants
)
_workspace = Statement("SELECT workspace FROM trigger_version WHERE trigger_no = :trigger_no")
_newest = Statement("SELECT max(version) FROM trigger_version WHERE workspace = :workspace AND name = :name")
_insert = Statement(
    "INSERT INTO trigger_version (workspace, name, version, pipeline, from_version, definition, state, made_at, made_by) "
    "VALUES (:workspace, :name, :version, :pipeline, :from_version, :definition, :state, :now, :by)"
)
_set_state = Statement("UPDATE trigger_version SET state = :state WHERE trigger_no = :trigger_no")
_set_from = Statement("UPDATE trigger_version SET state = :state, from_version = :from_version WHERE trigger_no = :trigger_no")


@dataclass(frozen=True, slots=True)
class Trigger:
    """A version of a trigger. `from_version` is the version of the pipeline that brought it; None: it was declared by itself."""

    trigger_no: int
    workspace: str
    name: str
    version: int
    pipeline: str
    from_version: str | None
    definition: str
    state: State
    made_at: int
    made_by: str

    @property
    def spec(self) -> TriggerSpec:
        return spec_of(self.definition)


@lru_cache(maxsize=4096)
def spec_of(definition: str) -> TriggerSpec:
    """A definition as it is kept."""
    return TriggerSpec.model_validate_json(definition)


def definition_of(spec: TriggerSpec) -> str:
    """The same text for the same trigger."""
    return json.dumps(json.loads(canonical(plain_trigger(spec))), sort_keys=True)


def lock_triggers(connection: Connection, workspace: str) -> None:
    """Waits until nobody decides by the workspace's triggers or changes them; nobody does until this transaction ends."""
    lock_name(connection, "triggers of", workspace)


def share_triggers(connection: Connection, workspace: str) -> None:
    """Nobody changes the workspace's triggers until this transaction ends."""
    share_name(connection, "triggers of", workspace)


def lock_trigger(connection: Connection, workspace: str, name: str) -> None:
    """Waits until nobody else decides by a trigger whose decisions depend on each other. After `share_triggers`; in the order of names."""
    lock_name(connection, "trigger", workspace, name)


def live_triggers(connection: Connection, workspace: str) -> list[Trigger]:
    """The live version of every trigger, those that are paused or inert among them."""
    return [Trigger(*row) for row in _live.rows(connection, workspace=workspace)]


def numbered(connection: Connection, numbers: Iterable[int]) -> list[Trigger]:
    """Those of these versions that are live, in the order in which they are locked."""
    wanted = sorted(set(numbers))
    rows = _numbered.rows(connection, numbers=json.dumps(wanted)) if wanted else []
    return sorted((Trigger(*row) for row in rows), key=lambda trigger: (trigger.workspace, trigger.name))


def locked(connection: Connection, numbers: Iterable[int]) -> list[Trigger]:
    """As `numbered`; nobody else decides by these or changes them until this transaction ends. One that can't be read waits until it can:
    the others must not."""
    triggers = numbered(connection, numbers)
    for workspace in sorted({trigger.workspace for trigger in triggers}):
        share_triggers(connection, workspace)
        for trigger in triggers:
            if trigger.workspace == workspace:
                lock_trigger(connection, workspace, trigger.name)
    return [trigger for trigger in numbered(connection, (one.trigger_no for one in triggers)) if can_be_read(trigger)]


def can_be_read(trigger: Trigger) -> bool:
    """Whether its definition is one; another version of Penstock may have kept it."""
    try:
        spec_of(trigger.definition)
    except ValidationError:
        return False
    return True


def workspace_of(connection: Connection, trigger_no: int) -> str:
    """That of a version of a trigger, live or not."""
    row = _workspace.first(connection, trigger_no=trigger_no)
    assert row is not None  # noqa: S101 - versions are never removed
    return str(row[0])


def find_trigger(connection: Connection, workspace: str, name: str) -> Trigger:
    """The live version of a trigger.

    :raises InvalidInput: there is none.
    """
    found = _find(connection, workspace, name)
    if found is None:
        known = [one.name for one in live_triggers(connection, workspace)]
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known[:10])}" if known else "none is declared"
        raise InvalidInput(f"there is no trigger {name!r} ({hint})")
    return found


def declare(connection: Connection, workspace: str, spec: TriggerSpec, by: str, now: int, *, state: State | None = None) -> Trigger:
    """A trigger by itself, or a new version of it; the same definition again changes nothing. `state` None: as it is, or `on`.

    :raises InvalidInput: its pipeline is not published, or it does not fit it; or a pipeline's version brought the trigger.
    """
    lock_triggers(connection, workspace)
    _check(connection, workspace, spec)
    before = _find(connection, workspace, spec.name)
    if before is not None and before.from_version is not None:
        raise InvalidInput(
            f"the trigger {spec.name!r} came with the version {before.from_version} of {before.pipeline}: change it there, or choose a name"
        )
    wanted = state or (before.state if before is not None else "on")
    return _put(connection, workspace, before, spec, (wanted, None, by), now)


def adopt(  # noqa: PLR0913 - what a published version has
    connection: Connection,
    workspace: str,
    pipeline: str,
    version: str,
    triggers: Sequence[TriggerSpec],
    state: Literal["paused", "on"],
    by: str,
    now: int,
) -> None:
    """Has the triggers of a pipeline's version, which is becoming the default, take the place of those that came with another one.

    A trigger that is there by name goes on as it was, paused or on, with what it holds; a new one begins as `state`. The others become
    inert. To be called in the transaction that makes the version the default, once it has.

    :raises InvalidInput: one does not fit the pipeline, or its name is taken by another pipeline's trigger.
    """
    lock_triggers(connection, workspace)
    own = {t.name: t for t in live_triggers(connection, workspace) if t.pipeline == pipeline and t.from_version is not None}
    for spec in triggers:
        if spec.pipeline.partition("@")[0] != pipeline:
            raise InvalidInput(f"the trigger {spec.name!r} is for {spec.pipeline}, and comes with {pipeline}")
        _check(connection, workspace, spec)
        before = own.pop(spec.name, None)
        if before is None and (other := _find(connection, workspace, spec.name)) is not None:
            raise InvalidInput(f"the name {spec.name!r} is taken by {_description(other)}: remove that, or choose another name")
        is_new = before is None or before.state == "inert"
        _put(connection, workspace, before, spec, (state if is_new or before is None else before.state, version, by), now)
    for left in own.values():
        _set_state(connection, state="inert", trigger_no=left.trigger_no)


def set_state(connection: Connection, workspace: str, name: str, state: Literal["paused", "on"], now: int) -> Trigger:
    """Pauses or resumes a trigger. Schedules go on from now: what became due meanwhile was decided as paused.

    :raises InvalidInput: there is no such trigger, or it is inert.
    """
    lock_triggers(connection, workspace)
    trigger = find_trigger(connection, workspace, name)
    if trigger.state == "inert":
        raise InvalidInput(
            f"the trigger {name!r} came with the version {trigger.from_version} of {trigger.pipeline}, which is not the default: "
            f"make it the default with `penstock pipelines default {trigger.pipeline} {trigger.from_version}`"
        )
    _set_state(connection, state=state, trigger_no=trigger.trigger_no)
    return find_trigger(connection, workspace, name)


def remove(connection: Connection, workspace: str, name: str, now: int) -> None:
    """Ends a trigger; what it decided stays.

    :raises InvalidInput: there is no such trigger, or a pipeline's version brought it.
    """
    lock_triggers(connection, workspace)
    trigger = find_trigger(connection, workspace, name)
    if trigger.from_version is not None and trigger.state != "inert":
        raise InvalidInput(
            f"the trigger {name!r} came with the version {trigger.from_version} of {trigger.pipeline}: pause it, or publish without it"
        )
    inherit(connection, trigger.trigger_no, None, now)
    _set_state(connection, state="superseded", trigger_no=trigger.trigger_no)


def _put(
    connection: Connection,
    workspace: str,
    before: Trigger | None,
    spec: TriggerSpec,
    given: tuple[State, str | None, str],
    now: int,
) -> Trigger:
    state, from_version, by = given
    definition = definition_of(spec)
    if before is not None and before.definition == definition:
        _set_from(connection, state=state, from_version=from_version, trigger_no=before.trigger_no)
        if before.state == "inert":
            start_clocks(connection, before.trigger_no, spec, now)
        return find_trigger(connection, workspace, spec.name)
    if before is not None:
        _set_state(connection, state="superseded", trigger_no=before.trigger_no)
    _insert(
        connection,
        workspace=workspace,
        name=spec.name,
        version=_newest.number(connection, workspace=workspace, name=spec.name) + 1,
        pipeline=spec.pipeline.partition("@")[0],
        from_version=from_version,
        definition=definition,
        state=state,
        now=now,
        by=by,
    )
    made = find_trigger(connection, workspace, spec.name)
    start_clocks(connection, made.trigger_no, spec, now)
    if before is not None:
        known = before.spec if can_be_read(before) else None
        inherit(connection, before.trigger_no, (made.trigger_no, known, spec), now, keeps_clocks=before.state != "inert")
    return made


def _find(connection: Connection, workspace: str, name: str) -> Trigger | None:
    row = _named.first(connection, workspace=workspace, name=name)
    return None if row is None else Trigger(*row)


def _description(trigger: Trigger) -> str:
    return f"a trigger of {trigger.pipeline}" if trigger.from_version is not None else "a trigger that was declared by itself"


def _check(connection: Connection, workspace: str, spec: TriggerSpec) -> None:
    if isinstance(spec.on, AllSource) and (spec.debounce is not None or spec.batch is not None):
        raise InvalidInput(f"the trigger {spec.name!r} joins events: what is joined can't be debounced or batched too; leave that out")
    resolved = resolve(connection, workspace, spec.pipeline)
    check_trigger(spec, plan_of(spec_bytes(connection, workspace, resolved.spec_digest)).spec)
