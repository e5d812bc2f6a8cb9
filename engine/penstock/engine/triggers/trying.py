"""What a trigger would make of an event: matching and mapping as they are, without anything that is kept."""

from typing import Any

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.event_views import Tried
from penstock.contracts.spec import PipelineSpec
from penstock.contracts.triggers import AllSource, CronSource, OnDataSource, OnEventSource, OnRunSource, Single, TriggerSpec
from penstock.engine.triggers.causes import looped
from penstock.engine.triggers.mapping import Fetch, Mapped, Parameter, Refused, mapped
from penstock.engine.triggers.matching import Keys, NotMatched, match, members_for, trigger_source


def tried(spec: TriggerSpec, pipeline: PipelineSpec, event: CloudEvent, workspace: str = "default") -> Tried:
    """What would become of the event, alone: it would start a run, wait, be refused, or not match."""
    members = members_for(spec, event, trigger_source(workspace, spec.name))
    if not members:
        return Tried(outcome="not_matched", reason=f"it is of type {event.type} from {event.source}; {_wanted(spec)}")
    results = [match(spec, member, event) for member in members]
    matched = [result for result in results if not isinstance(result, NotMatched)]
    if not matched:
        return Tried(outcome="not_matched", reason="; ".join(result.reason for result in results if isinstance(result, NotMatched)))
    loop = looped(spec, event)
    if loop is not None:
        return Tried(outcome="looped", reason=loop, keys=matched[0].keys.known)
    return _tried(spec, pipeline, event, matched[0].keys)


def _tried(spec: TriggerSpec, pipeline: PipelineSpec, event: CloudEvent, keys: Keys) -> Tried:
    waits = _waits(spec)
    result = mapped(spec, pipeline, [event])
    match result:
        case Refused(reason) if isinstance(spec.on, AllSource):
            return Tried(outcome="waiting", reason=f"{waits}; with this event alone: {reason}", keys=keys.known)
        case Refused(reason):
            return Tried(outcome="refused", reason=reason, keys=keys.known)
        case Mapped(parameters):
            plain = {name: plain_parameter(value) for name, value in parameters.items()}
            return Tried(outcome="waiting" if waits else "started", reason=waits, parameters=plain, keys=keys.known)


def plain_parameter(value: Parameter) -> Any:
    """For people: the value, or where it would be fetched from."""
    match value:
        case Fetch():
            return {"fetch": value.uri, "as": value.kind}
        case tuple():
            return [plain_parameter(one) for one in value]
        case _:
            return _plain_value(value)


def _plain_value(value: Value) -> Any:
    return (
        value.json_value() if isinstance(value, ArtifactRef) and value.is_inline else value.model_dump(mode="json", exclude_defaults=True)
    )


def _waits(spec: TriggerSpec) -> str:
    if isinstance(spec.on, AllSource):
        return "it would wait for the others of the join"
    if spec.debounce is not None:
        return f"it would wait until nothing else came for {spec.debounce.seconds:g} seconds"
    if spec.batch is not None and spec.batch.size > 1:
        return f"it would wait for a batch of {spec.batch.size}"
    return ""


def _wanted(spec: TriggerSpec) -> str:
    return "the trigger waits for " + " or ".join(_source_text(source) for source in spec.sources)


def _source_text(source: Single) -> str:
    match source:
        case OnEventSource():
            return f"{source.type}{'' if source.source is None else f' from {source.source}'}"
        case CronSource():
            return f"times of {source.schedule}"
        case OnDataSource():
            return f"objects at {source.uri}"
        case OnRunSource():
            return f"runs of {source.pipeline} that {' or '.join(source.states)}"
