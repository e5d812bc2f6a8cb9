"""Whether a trigger takes an event, and under which keys. What can't be evaluated does not match, and says why."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.encoding import digest_of
from penstock.contracts.errors import ContractError
from penstock.contracts.triggers import AllSource, CronSource, OnDataSource, OnEventSource, OnRunSource, Single, TriggerSpec
from penstock.engine.triggers.expressions import ExpressionError, compiled
from penstock.engine.triggers.scope import EVENT, Scope

SCHEDULE_DUE = "penstock.schedule.due"
OBJECT_CHANGED = "penstock.data.object.changed"
SETTLED = "penstock.data.settled"
PREFIX_CHANGED = "penstock.data.prefix.changed"
DATA_TYPES = (OBJECT_CHANGED, SETTLED, PREFIX_CHANGED)
KEY_LIMIT = 80
"""Characters of a key; a longer one becomes its digest."""
# Of a trigger's own events, which are for nobody else unless he asks for that source.
_OWN_SOURCE = re.compile(r"/penstock/[^/]+/triggers/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What the trigger's expressions make of an event. None: it has no such policy; empty: all events are of one key."""

    dedupe: str | None = None
    debounce: str | None = None
    batch: str | None = None
    join: str | None = None
    concurrency: str | None = None

    @property
    def known(self) -> dict[str, str]:
        """Those that there are, by name."""
        pairs = {name: getattr(self, name) for name in ("dedupe", "debounce", "batch", "join", "concurrency")}
        return {name: key for name, key in pairs.items() if key is not None}


@dataclass(frozen=True, slots=True)
class Matched:
    keys: Keys


@dataclass(frozen=True, slots=True)
class NotMatched:
    reason: str


def trigger_source(workspace: str, trigger: str) -> str:
    """The source of the events that are made for a trigger: the times of its schedule, changes of its data."""
    return f"/penstock/{workspace}/triggers/{trigger}"


def members_for(spec: TriggerSpec, event: CloudEvent, own_source: str) -> list[int]:
    """The places of the sources that look at the event. `own_source` is `trigger_source` of this trigger."""
    return [member for member, source in enumerate(spec.sources) if _looks_at(source, member, event, own_source)]


def match(spec: TriggerSpec, member: int, event: CloudEvent) -> Matched | NotMatched:
    """What the trigger makes of an event that the source at place `member` looks at."""
    scope = Scope((event,))
    source = spec.sources[member]
    where = source.where if isinstance(source, OnEventSource | OnRunSource) else None
    try:
        if where is not None and not compiled(where, "where", (EVENT,)).holds(scope):
            return NotMatched(f"where: {where} does not hold")
        return Matched(_keys(spec, scope))
    except ExpressionError as error:
        return NotMatched(str(error))


def concurrency_key_of(spec: TriggerSpec, events: Sequence[CloudEvent]) -> str:
    """The key of the concurrency policy for events that make a run together; empty where there is none.

    :raises ExpressionError: it can't be evaluated.
    """
    policy = spec.concurrency
    return "" if policy is None else _key(policy.key, "concurrency key", Scope(events))


def key_text(value: Any) -> str:
    """A key as it is kept: text as it is, anything else in JSON; by its digest where it is long or can't be shown."""
    text = value if isinstance(value, str) else _json(value)
    if len(text) <= KEY_LIMIT and text.isprintable() and not text.startswith("sha256:"):
        return text
    return digest_of(text)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _keys(spec: TriggerSpec, scope: Scope) -> Keys:
    join = spec.on.key if isinstance(spec.on, AllSource) else None
    return Keys(
        dedupe=None if spec.dedupe is None else _key(spec.dedupe, "dedupe key", scope),
        debounce=None if spec.debounce is None else _key(spec.debounce.key, "debounce key", scope),
        batch=None if spec.batch is None else _key(spec.batch.key, "batch key", scope),
        join=_key(join, "join key", scope) if isinstance(spec.on, AllSource) else None,
        concurrency=None if spec.concurrency is None else _key(spec.concurrency.key, "concurrency key", scope),
    )


def _key(expression: str | None, what: str, scope: Scope) -> str:
    if expression is None:
        return ""
    value = compiled(expression, what).value(scope)
    if value is None:
        raise ExpressionError(f"{what} `{expression}`: it is null, and would be the same for all events without one")
    try:
        return key_text(value)
    except ContractError as error:
        raise ExpressionError(f"{what} `{expression}`: {error}") from error


def _looks_at(source: Single, member: int, event: CloudEvent, own_source: str) -> bool:
    match source:
        case OnEventSource():
            is_anothers = source.source is None and _OWN_SOURCE.match(event.source) is not None
            return source.takes(event.type, event.source) and not is_anothers
        case CronSource():
            return event.type == SCHEDULE_DUE and event.source == own_source and _field(event, "member") == member
        case OnDataSource():
            return event.type in DATA_TYPES and event.source == own_source and _field(event, "member") == member
        case OnRunSource():
            runs = own_source.rpartition("/triggers/")[0]
            is_state = event.type in {f"penstock.run.{state}" for state in source.states}
            return is_state and event.source == runs and _field(event, "pipeline") == source.pipeline


def _field(event: CloudEvent, name: str) -> Any:
    match event.data:
        case {**fields}:
            return fields.get(name)
        case _:
            return None
