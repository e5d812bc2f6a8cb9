"""What an engine answers about events and triggers: every decision, with its reason. Times are microseconds since 1970 UTC."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from penstock.contracts.triggers import TriggerSpec

Outcome = Literal[
    "not_matched",  # the filter did not hold, or could not be evaluated
    "refused",  # it matched, and a parameter can't be what was mapped to it
    "duplicate",  # the dedupe key had its run
    "paused",  # the trigger was paused
    "looped",  # too many hops, or the trigger is among its own causes
    "waiting",  # held: for the others of a join, for a debounce, a batch, a throttle, a free place, or for data to be fetched
    "superseded",  # held, and a later one took its place
    "expired",  # half-joined when its time was over
    "skipped",  # as the concurrency policy says
    "failed",  # the data could not be fetched, or the run could not be made; it can be retried
    "started",  # a run was made of it
]


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


DATA_IS_FETCHED = "data is fetched"
"""Why a decision waits that soon is another one."""


class DecisionView(_View):
    """What one trigger made of one event. `replay` counts how often the event was replayed when this was decided."""

    trigger: str
    trigger_version: int
    event_no: int
    replay: int = 0
    outcome: Outcome
    reason: str = ""
    run_id: str | None = None
    run_name: str | None = None
    at: int


class EventView(_View):
    """An event as it is kept. `state`: `new` until every trigger has decided, then `done`; `dead` where deciding fails again and again."""

    event_no: int
    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    received_at: int
    via: str
    sender: str = ""
    state: Literal["new", "done", "dead"]
    error: str | None = None
    hops: int = 0
    correlation_id: str = ""
    causation_id: str | None = None
    conflicts: int = 0
    """Other bodies that came under the same source and id."""
    event: dict[str, Any] | None = None
    """The whole, in CloudEvents' JSON; lists leave it out."""
    decisions: tuple[DecisionView, ...] = ()


class HeldView(_View):
    """An event that a trigger holds. `why`: `join`, `debounce`, `batch`, `throttle`, `queue`, `fetch`; `missing` is of a join."""

    trigger: str
    why: Literal["join", "debounce", "batch", "throttle", "queue", "fetch"]
    event_nos: tuple[int, ...]
    key: str = ""
    since: int
    until: int | None = None
    missing: tuple[str, ...] = ()


class TriggerView(_View):
    """A trigger at its newest version. `state`: `paused` and `on` as people say; `inert` where its version is not the default."""

    spec: TriggerSpec
    version: int
    state: Literal["on", "paused", "inert"]
    from_version: str | None = None
    """The pipeline version that brought it; None: declared by itself."""
    updated_at: int
    updated_by: str = ""
    next_at: int | None = None
    """Of a schedule."""
    last_run: str | None = None
    counts: dict[str, int] = {}
    """Decisions of the last day, by outcome."""
    held: int = 0
    trouble: str = ""
    """Why the last look at its data found out nothing."""


class Tried(_View):
    """What a trigger would make of an event; nothing is kept."""

    outcome: Outcome
    reason: str = ""
    parameters: dict[str, Any] = {}
    keys: dict[str, str] = {}
    """Of dedupe, debounce, batch, join and concurrency, where it has them."""


class RefusalView(_View):
    """A message that came and that nobody could read, with the reason; `body` is its beginning."""

    refusal_no: int
    received_at: int
    reason: str
    content_type: str = ""
    exchange: str = ""
    key: str = ""
    sender: str = ""
    size: int
    body: str
