"""Rules that turn events, times and data changes into runs, as declared on a pipeline: inert data.

Expressions are CEL over `event` (`events` where several make a run together). Durations are written `"10m"`, `"6h"`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TypedDict, Unpack

from penstock.contracts.errors import GraphError
from penstock.sdk.nearest import nearest_hint

Duration = str | float | timedelta
Ended = Literal["succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Debounce:
    """Wait until no event of the same `key` came for so long, at most `at_most`; the last one counts."""

    wait: Duration
    key: str | None = field(default=None, kw_only=True)
    at_most: Duration | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Batch:
    """One run for `size` events of the same `key`, or for as many as came `within` that time after the first."""

    size: int = 100
    within: Duration | None = None
    key: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Throttle:
    """At most `count` runs begin in any such time; what comes sooner waits its turn."""

    count: int
    per: Duration


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many runs with the same `key` go on at once; the next one waits (`queue`), is left out (`skip`), or stops the oldest
    (`replace`)."""

    limit: int = 1
    policy: Literal["queue", "skip", "replace"] = "queue"
    key: str | None = field(default=None, kw_only=True)


class TriggerOptions(TypedDict, total=False):
    """What every trigger can have.

    `parameters` maps parameters of the pipeline to expressions; of events with equal `dedupe`, the first counts. `debounce="5m"`,
    `batch=100`, `throttle="10/1h"` and `concurrency="skip"` are the short forms of `Debounce`, `Batch`, `Throttle`, `Concurrency`.
    """

    parameters: Mapping[str, str]
    dedupe: str | None
    debounce: Duration | Debounce
    batch: int | Batch
    throttle: str | Throttle
    concurrency: int | Literal["queue", "skip", "replace"] | Concurrency
    hop_limit: int
    name: str
    tags: Mapping[str, str]
    experiment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """The options, as fields."""

    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    dedupe: str | None = None
    debounce: Duration | Debounce | None = None
    batch: int | Batch | None = None
    throttle: str | Throttle | None = None
    concurrency: int | Literal["queue", "skip", "replace"] | Concurrency | None = None
    hop_limit: int | None = None
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    experiment: str | None = None


@dataclass(frozen=True, slots=True)
class OnEvent(_Rule):
    """An event of a type (`*` at its end stands for anything), of a source if one is named, where the expression `where` holds."""

    type: str
    where: str | None = field(default=None, kw_only=True)
    source: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Cron(_Rule):
    """Times, as a cron expression in the time zone `tz`. `catch_up` says which missed times count."""

    schedule: str
    tz: str = field(default="UTC", kw_only=True)
    catch_up: Literal["none", "latest", "all"] = field(default="none", kw_only=True)


@dataclass(frozen=True, slots=True)
class OnData(_Rule):
    """New or changed data at a URI with wildcards, looked for each `poll`.

    Each `object` makes a run; or a `batch` of them, or the `prefix` as a whole, once nothing has changed for `settle`. Not said: as the
    parameter is that gets the data (`File`, `list[File]`, `Directory`).
    """

    uri: str
    per: Literal["object", "batch", "prefix"] | None = field(default=None, kw_only=True)
    poll: Duration = field(default="1m", kw_only=True)
    settle: Duration = field(default="5s", kw_only=True)


@dataclass(frozen=True, slots=True)
class OnRun(_Rule):
    """Runs of another pipeline that ended so."""

    pipeline: str
    states: tuple[Ended, ...] | Ended = field(default=("succeeded",), kw_only=True)
    where: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True, init=False)
class All(_Rule):
    """All of several, joined where the expression `key` is equal, no further apart than `within`.

    `policy`: `each` pairs the k-th of one with the k-th of the others; `latest` takes the newest of each, `batch` all that are there.
    """

    triggers: "tuple[Trigger, ...]"
    key: str | None
    within: Duration | None
    policy: Literal["each", "latest", "batch"]

    def __init__(
        self,
        *triggers: "Trigger",
        key: str | None = None,
        within: Duration | None = None,
        policy: Literal["each", "latest", "batch"] = "each",
        **options: Unpack[TriggerOptions],
    ) -> None:
        _Rule.__init__(self, **options)
        object.__setattr__(self, "triggers", triggers)
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "within", within)
        object.__setattr__(self, "policy", policy)


@dataclass(frozen=True, slots=True, init=False)
class Any(_Rule):
    """Any one of several."""

    triggers: "tuple[Trigger, ...]"

    def __init__(self, *triggers: "Trigger", **options: Unpack[TriggerOptions]) -> None:
        _Rule.__init__(self, **options)
        object.__setattr__(self, "triggers", triggers)


Trigger = OnEvent | Cron | OnData | OnRun | All | Any


def check_declared(triggers: "Sequence[object] | Trigger", function: Callable[..., object], where: str) -> None:
    """What can be said of triggers when a pipeline is declared: they are triggers, and map parameters that it has.

    :raises GraphError: otherwise; the text begins with `where`.
    """
    if isinstance(triggers, Trigger):
        raise GraphError(f"{where}: triggers= takes a list: triggers=[{title_of(triggers)}]")
    known = list(inspect.signature(function).parameters)
    for trigger in triggers:
        if not isinstance(trigger, Trigger):
            raise GraphError(f"{where}: triggers= takes OnEvent, Cron, OnData, OnRun, All and Any, not {trigger!r}")
        for name in trigger.parameters:
            if name not in known:
                hint = nearest_hint(name, known)
                raise GraphError(f"{where}: {title_of(trigger)} maps {name!r}, which is no parameter of {function.__name__}{hint}")


def title_of(trigger: Trigger) -> str:
    """What it listens to, as it is written."""
    match trigger:
        case OnEvent():
            first = trigger.type
        case Cron():
            first = trigger.schedule
        case OnData():
            first = trigger.uri
        case OnRun():
            first = trigger.pipeline
        case All() | Any():
            return f"{type(trigger).__name__}(...)"
    return f"{type(trigger).__name__}({first!r})"
