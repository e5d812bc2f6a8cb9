"""Triggers as declared, checked against their pipeline and written as plain specs."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from penstock.contracts.errors import GraphError, InvalidInput
from penstock.contracts.names import dashed
from penstock.contracts.triggers import TriggerSpec
from penstock.sdk import triggers as declared
from penstock.sdk.options import Duration, seconds
from penstock.sdk.triggers import Batch, Concurrency, Cron, Debounce, OnData, OnEvent, OnRun, Throttle, Trigger, title_of

_THROTTLE = re.compile(r"(\d+)\s*/\s*(.+)")
_OPTIONS = ("parameters", "dedupe", "debounce", "batch", "throttle", "concurrency", "hop_limit", "name", "tags", "experiment")


def trigger_specs(pipeline: str, triggers: Sequence[Trigger]) -> tuple[TriggerSpec, ...]:
    """The specs of a pipeline's triggers; those without a name are called after it: `retrain`, `retrain-2`, ...

    :raises GraphError: an option has a value that it can't have.
    """
    specs: list[TriggerSpec] = []
    name = dashed(pipeline)
    for number, trigger in enumerate(triggers, 1):
        default = name if number == 1 else f"{name}-{number}"
        where = f"{pipeline}: triggers[{number - 1}], {title_of(trigger)}"
        specs.append(_spec(trigger, name, trigger.name or default, where))
    named = [spec.name for spec in specs]
    for spec in specs:
        if named.count(spec.name) > 1:
            raise GraphError(f"{pipeline}: two triggers are named {spec.name!r}; give one another name=")
    return tuple(specs)


def _spec(trigger: Trigger, pipeline: str, name: str, where: str) -> TriggerSpec:
    try:
        fields: dict[str, Any] = {"on": _source(trigger, where), **_policies(trigger, where)}
    except InvalidInput as error:
        raise GraphError(f"{where}: {error}") from error
    given = {
        "dedupe": trigger.dedupe,
        "hop_limit": trigger.hop_limit,
        "experiment": trigger.experiment,
        "parameters": dict(trigger.parameters),
        "tags": dict(trigger.tags),
    }
    try:
        return TriggerSpec.model_validate({"name": name, "pipeline": pipeline, **fields, **given})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise GraphError(f"{where}: {place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}") from error


def _source(trigger: Trigger, where: str) -> dict[str, Any]:
    if isinstance(trigger, declared.All):
        within = None if trigger.within is None else seconds(trigger.within, "within")
        members = _members(trigger.triggers, where)
        return {"kind": "all", "of": members, "key": trigger.key, "within_seconds": within, "policy": trigger.policy}
    if isinstance(trigger, declared.Any):
        return {"kind": "any", "of": _members(trigger.triggers, where)}
    return _single(trigger)


def _single(trigger: OnEvent | Cron | OnData | OnRun) -> dict[str, Any]:
    match trigger:
        case OnEvent():
            return {"kind": "event", "type": trigger.type, "source": trigger.source, "where": trigger.where}
        case Cron():
            return {"kind": "cron", "schedule": trigger.schedule, "tz": trigger.tz, "catch_up": trigger.catch_up}
        case OnData():
            times = {"poll_seconds": seconds(trigger.poll, "poll"), "settle_seconds": _settle(trigger.settle)}
            return {"kind": "data", "uri": trigger.uri, "per": trigger.per, **times}
        case OnRun():
            states = (trigger.states,) if isinstance(trigger.states, str) else trigger.states
            return {"kind": "run", "pipeline": dashed(trigger.pipeline), "states": states, "where": trigger.where}


def _settle(settle: Duration) -> float:
    return 0.0 if settle in (0, "0s") else seconds(settle, "settle")


def _members(triggers: Sequence[Trigger], where: str) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = []
    for member in triggers:
        if isinstance(member, declared.All | declared.Any):
            raise GraphError(f"{where}: {title_of(member)} is inside of it; All and Any take OnEvent, Cron, OnData and OnRun")
        for option in _OPTIONS:
            if getattr(member, option) not in (None, {}):
                raise GraphError(f"{where}: {option}= is on {title_of(member)} inside of it; put it on the whole, All(..., {option}=...)")
        members.append(_single(member))
    return members


def _policies(trigger: Trigger, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if trigger.debounce is not None:
        debounce = trigger.debounce if isinstance(trigger.debounce, Debounce) else Debounce(trigger.debounce)
        at_most = None if debounce.at_most is None else seconds(debounce.at_most, "at_most")
        found["debounce"] = {"seconds": seconds(debounce.wait, "debounce"), "key": debounce.key, "at_most_seconds": at_most}
    if trigger.batch is not None:
        batch = trigger.batch if isinstance(trigger.batch, Batch) else Batch(trigger.batch)
        within = None if batch.within is None else seconds(batch.within, "within")
        found["batch"] = {"size": batch.size, "seconds": within, "key": batch.key}
    if trigger.throttle is not None:
        throttle = trigger.throttle if isinstance(trigger.throttle, Throttle) else _throttle(trigger.throttle, where)
        found["throttle"] = {"count": throttle.count, "seconds": seconds(throttle.per, "throttle")}
    if trigger.concurrency is not None:
        found["concurrency"] = _concurrency(trigger.concurrency)
    return found


def _throttle(text: str, where: str) -> Throttle:
    parts = _THROTTLE.fullmatch(text)
    if parts is None:
        raise GraphError(f"{where}: throttle is {text!r}; write how many in which time, such as '10/1h'")
    return Throttle(int(parts[1]), parts[2])


def _concurrency(given: int | str | Concurrency) -> dict[str, Any]:
    match given:
        case Concurrency():
            return {"limit": given.limit, "policy": given.policy, "key": given.key}
        case int():
            return {"limit": given}
        case _:
            return {"policy": given}
