"""Who wants to hear of what happens to runs: subscriptions, and triggers that start from runs of other pipelines. One statement asks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.event_types import STEP_TYPES, type_fits
from penstock.engine.statement import Statement

# Of the triggers, those whose definition may name run events; a look into it tells.
_listeners = Statement(
    "SELECT 'subscription', name, kind, types, pipeline FROM subscription WHERE workspace = :workspace AND state <> 'off' "
    "UNION ALL SELECT 'trigger', name, '', definition, pipeline FROM trigger_version WHERE workspace = :workspace "
    "AND state <> 'superseded' AND state <> 'inert' "
    "AND (definition LIKE '%\"run\"%' OR definition LIKE '%*\"%' OR definition LIKE '%penstock.run.%')"
)


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A subscription, as far as it says what it wants. `pipeline` None: of every one."""

    name: str
    kind: str
    types: tuple[str, ...]
    pipeline: str | None

    def wants(self, event_type: str, pipeline: str) -> bool:
        return self.pipeline in (None, pipeline) and any(type_fits(pattern, event_type) for pattern in self.types)


@dataclass(frozen=True, slots=True)
class Listeners:
    """Those of a workspace. `sources` are the triggers' plain ones."""

    subscribers: Sequence[Subscriber] = ()
    sources: Sequence[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])

    @property
    def are_there(self) -> bool:
        return bool(self.subscribers or self.sources)

    def for_steps(self, pipeline: str) -> bool:
        """Whether anybody wants to hear of the steps of its runs."""
        return any(subscriber.wants(event_type, pipeline) for subscriber in self.subscribers for event_type in STEP_TYPES)

    def start_from(self, event_type: str, source: str, pipeline: str) -> bool:
        """Whether a trigger looks at such an event of a run of `pipeline`."""
        return any(_takes(one, event_type, source, pipeline) for one in self.sources)


def listeners(connection: Connection, workspace: str) -> Listeners:
    """Those that there are now."""
    subscribers: list[Subscriber] = []
    sources: list[Mapping[str, Any]] = []
    for what, name, kind, text, pipeline in _listeners.rows(connection, workspace=workspace):
        if what == "subscription":
            subscribers.append(Subscriber(name, kind, tuple(json.loads(text)), pipeline))
        else:
            sources += _sources(text)
    return Listeners(subscribers, sources)


def _sources(definition: str) -> list[Mapping[str, Any]]:
    """Those of a trigger. One that nobody can read must not keep the workspace's runs from ending."""
    try:
        on: dict[str, Any] = json.loads(definition)["on"]
    except (ValueError, LookupError, TypeError):
        return []
    return list(on.get("of", [on]))


def _takes(source: Mapping[str, Any], event_type: str, event_source: str, pipeline: str) -> bool:
    match source.get("kind", "event"):
        case "run":
            state = event_type.removeprefix("penstock.run.")
            return source["pipeline"] == pipeline and state in source.get("states", ("succeeded",))
        case "event":
            named = source.get("source")
            return type_fits(source["type"], event_type) and (named is None or type_fits(named, event_source))
        case _:
            return False
