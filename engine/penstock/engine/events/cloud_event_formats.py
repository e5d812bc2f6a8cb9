"""CloudEvents 1.0 as they travel: structured and batched JSON, and the binary mode that AMQP and HTTP share. Pure."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.errors import ContractError
from penstock.engine.events.plain_json import json_of

EVENTS_AT_ONCE = 1000
"""In one batch."""
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
_FORMATS = "application/cloudevents"
_ATTRIBUTES = frozenset({"id", "source", "type", "time", "subject", "datacontenttype", "dataschema"})
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NAME = re.compile(r"[a-z0-9]{1,40}")
_SHOWN = 60


def media_type(content_type: str) -> str:
    """Without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Whether data of that type is JSON; so is what says nothing about itself, if it can be read as such."""
    kind = media_type(content_type)
    return kind in ("application/json", "text/json") or kind.endswith("+json")


def is_cloud_event_format(content_type: str) -> bool:
    return media_type(content_type).startswith(_FORMATS)


def formatted_events(content_type: str, body: bytes) -> list[CloudEvent]:
    """The events of a message in a format of CloudEvents.

    :raises ContractError: in another one than JSON, or it breaks the format's rules.
    """
    match media_type(content_type):
        case "application/cloudevents+json" | "application/cloudevents":
            return [structured_event(json_of(body, "the event"))]
        case "application/cloudevents-batch+json" | "application/cloudevents-batch":
            return batched_events(json_of(body, "the batch"))
        case other:
            raise ContractError(f"events can't be read as {other[:_SHOWN]!r}: send {STRUCTURED} or {BATCH}")


def batched_events(batch: Any) -> list[CloudEvent]:
    """:raises ContractError: saying which event of it is wrong."""
    match batch:
        case [*items] if len(items) <= EVENTS_AT_ONCE:
            return _batched(items)
        case [*items]:
            raise ContractError(f"the batch has {len(items)} events, {EVENTS_AT_ONCE} at most: send several")
        case _:
            raise ContractError(f"a batch ({BATCH}) is a JSON array of events")


def _batched(items: list[Any]) -> list[CloudEvent]:
    events: list[CloudEvent] = []
    for number, item in enumerate(items):
        try:
            events.append(structured_event(item))
        except ContractError as error:
            raise ContractError(f"event {number} of the batch: {error}") from error
    return events


def structured_event(value: Any) -> CloudEvent:
    """An event in CloudEvents' JSON.

    :raises ContractError: it is none.
    """
    if not isinstance(value, dict):
        raise ContractError("an event in CloudEvents' JSON is an object")
    members: dict[str, Any] = {name: member for name, member in value.items() if member is not None}  # pyright: ignore[reportUnknownVariableType]  # decoded
    data, encoded = members.pop("data", None), members.pop("data_base64", None)
    if encoded is not None:
        if data is not None:
            raise ContractError("the event has both `data` and `data_base64`: send one of them")
        data = _data(str(members.get("datacontenttype", "")), _bytes(encoded))
    return _event(members, data)


def binary_event(attributes: Mapping[str, Any], content_type: str, body: bytes) -> CloudEvent:
    """An event whose attributes came beside its data. Numbers where text belongs are taken as text.

    :raises ContractError: the attributes break CloudEvents' rules, or the data is not what the content type says.
    """
    members = {name.lower(): _attribute(name.lower(), value) for name, value in attributes.items() if value is not None}
    if content_type:
        members["datacontenttype"] = content_type
    return _event(members, _data(content_type, body))


def checked_event(members: dict[str, Any]) -> CloudEvent:
    """:raises ContractError: saying which attribute is wrong, and how."""
    time = members.get("time")
    if time is not None and not _is_time(time):
        raise ContractError(f"time: {str(time)[:_SHOWN]!r} is no time as RFC 3339 has it, such as 2026-03-01T06:30:00Z")
    try:
        return CloudEvent(**members)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part)[:_SHOWN] for part in first["loc"][:2]) or "the event"
        raise ContractError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from error


def _event(members: dict[str, Any], data: Any) -> CloudEvent:
    version = members.pop("specversion", None)
    if version != "1.0":
        found = "is missing" if version is None else f"is {str(version)[:_SHOWN]!r}"
        raise ContractError(f"specversion {found}: events are CloudEvents of specversion '1.0'")
    for name in members:
        if not _NAME.fullmatch(name):
            raise ContractError(f"{name[:_SHOWN]!r} can't be an attribute: their names are of a-z and 0-9, 40 at most")
    known = {name: members.pop(name) for name in _ATTRIBUTES & members.keys()}
    return checked_event({**known, "data": data, "extensions": members})


def _attribute(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and name in _ATTRIBUTES else value


def _data(content_type: str, body: bytes) -> Any:
    """JSON as what it says, text as text, anything else as base64."""
    if not body:
        return None
    if is_json(content_type):
        return json_of(body, "the data")
    if not content_type:
        return _unnamed(body)
    if media_type(content_type).startswith("text/") or media_type(content_type) == "application/xml":
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            return base64.b64encode(body).decode()
    return base64.b64encode(body).decode()


def _unnamed(body: bytes) -> Any:
    try:
        return json_of(body, "the data")
    except ContractError:
        return _data("text/plain", body)


def _bytes(encoded: Any) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise ContractError(f"data_base64: {error}") from error


def _is_time(time: Any) -> bool:
    if not isinstance(time, str) or not _TIME.fullmatch(time):
        return False
    try:
        datetime.fromisoformat(re.sub(r"\.\d+", "", time).upper())
    except ValueError:
        return False
    return True
