"""Triggers: rules that turn events, times and data changes into runs, in plain data.

A trigger is a *source* (what it waits for) and what is done about it. Expressions are CEL; `event` is the event, `events` are those that a
batch or a join brought together. Names and types are checked against the pipeline's parameters when a trigger is declared.
"""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, model_validator

from penstock.contracts.encoding import canonical
from penstock.contracts.numbers import Count, Seconds

Expression = Annotated[str, Field(min_length=1, max_length=4096)]
TriggerName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,126}$")]
PipelineReference = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}(@[A-Za-z0-9][A-Za-z0-9_.-]{0,62})?$")]
"""`sales-daily` runs the default version, `sales-daily@3` that version, `sales-daily@staging` what the alias names."""
LEAST_POLL_SECONDS = 1.0


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class OnEventSource(_Model):
    """Events of a type (`*` at its end stands for anything), of a source if one is named, where the expression `where` holds."""

    kind: Literal["event"] = "event"
    type: Annotated[str, Field(min_length=1, max_length=255)]
    source: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    where: Expression | None = None

    def takes(self, event_type: str, source: str) -> bool:
        """Whether events of that type and source are looked at."""
        return _fits(self.type, event_type) and (self.source is None or _fits(self.source, source))


class CronSource(_Model):
    """Times of a cron expression in a time zone. Each time is an event whose `time` it is.

    `catch_up`: of the times that were missed while nobody served, `none` counts, the `latest`, or `all` (a thousand at most).
    """

    kind: Literal["cron"] = "cron"
    schedule: Annotated[str, Field(min_length=1, max_length=255)]
    tz: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
    catch_up: Literal["none", "latest", "all"] = "none"


class OnDataSource(_Model):
    """New or changed objects at a URI, whose last part may have wildcards (`s3://lake/daily/*.csv`); they are told apart by ETag or digest.

    `per` object is one event; a `batch` all that changed once nothing has for `settle_seconds`; a `prefix` the folder as a whole, likewise.
    None: as the parameter that the data goes to has it (`File`, `list[File]`, `Directory`).
    """

    kind: Literal["data"] = "data"
    uri: Annotated[str, Field(min_length=1, max_length=1024)]
    per: Literal["object", "batch", "prefix"] | None = None
    poll_seconds: Annotated[float, Field(ge=LEAST_POLL_SECONDS, le=86400)] = 60.0
    settle_seconds: Annotated[float, Field(ge=0, le=86400)] = 5.0


class OnRunSource(_Model):
    """Runs of another pipeline that ended so."""

    kind: Literal["run"] = "run"
    pipeline: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    states: tuple[Literal["succeeded", "failed", "cancelled"], ...] = ("succeeded",)
    where: Expression | None = None


Single = Annotated[OnEventSource | CronSource | OnDataSource | OnRunSource, Discriminator("kind")]


class AllSource(_Model):
    """One event of each source, joined where `key` is equal, no further apart than `within_seconds`; none is dropped unseen.

    `each`: the k-th of one source goes with the k-th of each other. `latest`: the newest of each; older ones of its key are superseded.
    `batch`: all of each that are there when every source has one. A join whose time is over expires; its events stay visible.
    """

    kind: Literal["all"] = "all"
    of: Annotated[tuple[Single, ...], Field(min_length=2, max_length=16)]
    key: Expression | None = None
    within_seconds: Seconds | None = None
    policy: Literal["each", "latest", "batch"] = "each"


class AnySource(_Model):
    """An event of any of the sources."""

    kind: Literal["any"] = "any"
    of: Annotated[tuple[Single, ...], Field(min_length=1, max_length=16)]


Source = Annotated[OnEventSource | CronSource | OnDataSource | OnRunSource | AllSource | AnySource, Discriminator("kind")]


class Debounce(_Model):
    """Waits until no event of the same key came for `seconds`, at most `at_most_seconds`; the last one counts."""

    seconds: Annotated[float, Field(gt=0, le=3e6)]
    key: Expression | None = None
    at_most_seconds: Annotated[float, Field(gt=0, le=3e6)] | None = None


class BatchPolicy(_Model):
    """One run for `size` events of the same key, or for as many as came `seconds` after the first."""

    size: Annotated[int, Field(ge=1, le=10_000)] = 100
    seconds: Annotated[float, Field(gt=0, le=3e6)] | None = None
    key: Expression | None = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.size == 1 and self.seconds is not None:
            raise ValueError("a batch of one waits for nothing: leave `seconds` out")
        return self


class Throttle(_Model):
    """At most `count` runs begin in any `seconds`; what comes sooner waits its turn."""

    count: Annotated[int, Field(ge=1, le=1_000_000)]
    seconds: Annotated[float, Field(gt=0, le=3e6)]


class Concurrency(_Model):
    """How many runs of this trigger with the same `key` go on at once, and what becomes of the next one: it waits (`queue`), is left out
    (`skip`), or stops the oldest (`replace`)."""

    limit: Annotated[int, Field(ge=1, le=100_000)] = 1
    policy: Literal["queue", "skip", "replace"] = "queue"
    key: Expression | None = None


class TriggerSpec(_Model):
    """A trigger. `parameters` are expressions by parameter of the pipeline; `dedupe` an expression: of equal ones, the first counts."""

    name: TriggerName
    pipeline: PipelineReference
    on: Source
    parameters: Annotated[dict[str, Expression], Field(max_length=256)] = {}
    dedupe: Expression | None = None
    debounce: Debounce | None = None
    batch: BatchPolicy | None = None
    throttle: Throttle | None = None
    concurrency: Concurrency | None = None
    hop_limit: Annotated[Count, Field(le=1000)] | None = None
    tags: Annotated[dict[str, str], Field(max_length=64)] = {}
    experiment: Annotated[str, Field(max_length=255)] | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if self.debounce is not None and self.batch is not None:
            raise ValueError("either debounce or batch: both decide which events make a run together")
        return self

    @property
    def sources(self) -> tuple[Single, ...]:
        """What it listens to, in order; a member of a join is known by its place."""
        return self.on.of if isinstance(self.on, AllSource | AnySource) else (self.on,)


def plain_trigger(spec: TriggerSpec) -> dict[str, Any]:
    """As JSON has it; what is at its default is left out."""
    plain = spec.model_dump(mode="json", exclude_defaults=True)
    return plain | {"on": _with_kinds(spec.on.model_dump(mode="json", exclude_defaults=True), spec)}


def triggers_text(specs: Iterable[TriggerSpec]) -> str:
    """Triggers as text that `read_triggers` reads."""
    return canonical([plain_trigger(spec) for spec in specs]).decode()


def read_triggers(text: str) -> tuple[TriggerSpec, ...]:
    """What `triggers_text` wrote."""
    return tuple(TriggerSpec.model_validate(plain) for plain in json.loads(text))


def _with_kinds(plain: dict[str, Any], spec: TriggerSpec) -> dict[str, Any]:
    if isinstance(spec.on, AllSource | AnySource):
        plain["of"] = [{**part, "kind": one.kind} for part, one in zip(plain["of"], spec.on.of, strict=True)]
    return {**plain, "kind": spec.on.kind}


def _fits(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern
