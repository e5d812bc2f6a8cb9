"""Run events: what Penstock tells others about runs and step runs, as CloudEvents 1.0 in JSON. Facts, in the past tense.

An event's id follows from what happened, so whoever hears of it twice can tell. Outputs are inside by digest; the bytes of one only
where it is a value so small that it travels in its ref.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, TypeAdapter, ValidationError

from penstock.contracts.artifacts import Value
from penstock.contracts.encoding import canonical
from penstock.contracts.errors import ContractError
from penstock.contracts.messages import Cause, Failure
from penstock.contracts.numbers import Count

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

RunEventType = Literal["penstock.run.started", "penstock.run.succeeded", "penstock.run.failed", "penstock.run.cancelled"]
StepEventType = Literal["penstock.step.succeeded", "penstock.step.failed", "penstock.step.skipped"]


class _Event(BaseModel):
    """The attributes that CloudEvents asks for. `version` is an extension attribute: the version of `data` for this type."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    specversion: Literal["1.0"] = "1.0"
    version: Literal[1] = 1
    id: str
    source: str
    """`/penstock/<workspace>`."""
    subject: str
    """The run's name, and for a step run its address: `retrain-42/train/3`."""
    time: str
    """RFC 3339 in UTC, to the microsecond."""
    datacontenttype: Literal["application/json"] = "application/json"
    correlationid: str | None = None
    """The same for all that followed from one first cause."""
    causationid: str | None = None
    """The run that it followed from."""
    penstockhops: Count = 0
    """The runs between the first cause and this event."""


class RunData(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    run_id: str
    run_name: str
    pipeline: str
    spec_digest: str
    cause: Cause = Cause()
    tags: dict[str, str] = {}
    outputs: dict[str, Value] = {}
    error: str | None = None
    is_cut: bool = False
    """Tags and outputs were left out: with them it would be too large. The API has them."""


class StepData(BaseModel):
    """`hit`: the outputs come from the cache entry `key`; nothing was executed."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    run_id: str
    run_name: str
    pipeline: str
    step: str
    index: tuple[int, ...] = ()
    hit: bool = False
    key: str | None = None
    outputs: dict[str, Value] = {}
    failure: Failure | None = None
    is_cut: bool = False
    """Outputs and the failure's traceback were left out: with them it would be too large. The API has them."""


class RunEvent(_Event):
    """Something happened to a run."""

    type: RunEventType
    data: RunData


class StepEvent(_Event):
    """Something happened to a step run."""

    type: StepEventType
    data: StepData


Event = Annotated[RunEvent | StepEvent, Discriminator("type")]
_adapter: TypeAdapter[Event] = TypeAdapter(Event)


def run_event(kind: RunEventType, data: RunData, *, workspace: str, at: int) -> RunEvent:
    """The event that `kind` happened to a run `at` microseconds since 1970 UTC."""
    identity = f"{data.run_id}/{kind.removeprefix('penstock.')}"
    return RunEvent(type=kind, id=identity, source=f"/penstock/{workspace}", subject=data.run_name, time=timestamp(at), data=data)


def step_event(kind: StepEventType, data: StepData, *, workspace: str, at: int) -> StepEvent:
    """The event that `kind` happened to a step run `at` microseconds since 1970 UTC."""
    address = "/".join([data.step, *map(str, data.index)])
    return StepEvent(
        type=kind,
        id=f"{data.run_id}/{address}/{kind.removeprefix('penstock.')}",
        source=f"/penstock/{workspace}",
        subject=f"{data.run_name}/{address}",
        time=timestamp(at),
        data=data,
    )


def routing_key(event: RunEvent | StepEvent) -> str:
    """The topic under which an event goes out: `run.succeeded.<pipeline>` or `step.succeeded.<pipeline>.<step>`."""
    topic = f"{event.type.removeprefix('penstock.')}.{event.data.pipeline}"
    return topic if isinstance(event, RunEvent) else f"{topic}.{event.data.step}"


def timestamp(microseconds: int) -> str:
    """RFC 3339 of microseconds since 1970 UTC, always with six digits behind the point."""
    return (_EPOCH + timedelta(microseconds=microseconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def encode_event(event: RunEvent | StepEvent) -> bytes:
    """Canonical JSON, as CloudEvents' structured mode has it."""
    always = {"specversion": event.specversion, "version": event.version, "datacontenttype": event.datacontenttype}
    return canonical({**event.model_dump(mode="json", exclude_defaults=True), **always})


def decode_event(data: bytes) -> RunEvent | StepEvent:
    """The event in JSON bytes.

    :raises ContractError: it is none of ours, or malformed.
    """
    try:
        return _adapter.validate_json(data)
    except ValidationError as error:
        raise ContractError(f"not a run event: {error}") from error
