"""Notifications of buckets, as S3, MinIO and Ceph send them, become CloudEvents as CloudEvents' own adapter for S3 names them. Pure.

Two things are more than that adapter says: the id ends with a digest of the object, because one request may delete many; and the data has
`uri`, the object's address as parameters of pipelines take it.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.encoding import digest_of
from penstock.contracts.errors import ContractError
from penstock.engine.events.cloud_event_formats import EVENTS_AT_ONCE, checked_event

TYPE_PREFIX = "com.amazonaws.s3."
_ID_LIMIT = 255
_DIGITS = 16


def is_notification(message: Any) -> bool:
    """Whether plain JSON is what a bucket sends, the message by which S3 tries an address included."""
    match message:
        case {"Records": [{"s3": {**_parts}}, *_]}:
            return True
        case {"Event": "s3:TestEvent"}:
            return True
        case _:
            return False


def notified_events(message: Any) -> list[CloudEvent]:
    """An event for each object that the notification tells of; none for a test.

    :raises ContractError: it lacks what an event needs; the text says what.
    """
    match message:
        case {"Event": "s3:TestEvent"}:
            return []
        case {"Records": [*records]} if len(records) <= EVENTS_AT_ONCE:
            return [_event(record, f"Records[{number}]") for number, record in enumerate(records)]
        case {"Records": [*records]}:
            raise ContractError(f"the notification has {len(records)} records, {EVENTS_AT_ONCE} at most")
        case _:
            raise ContractError("a notification of a bucket is an object with a list `Records`")


def _event(record: Any, where: str) -> CloudEvent:
    match record:
        case {**parts}:
            return _object_event(parts, where)
        case _:
            raise ContractError(f"{where}: a record is an object")


def _object_event(parts: Mapping[Any, Any], where: str) -> CloudEvent:
    bucket = _text(parts, where, "s3", "bucket", "name")
    key = unquote_plus(_text(parts, where, "s3", "object", "key"), errors="replace")
    name = _text(parts, where, "eventName").removeprefix("s3:")
    region = parts.get("awsRegion")
    source = ".".join((_text(parts, where, "eventSource"), region if isinstance(region, str) else "", bucket))
    members = {"source": source, "type": f"{TYPE_PREFIX}{name}", "subject": key, "time": parts.get("eventTime")}
    fixed = {"id": _id(parts), "datacontenttype": "application/json", "data": {**parts, "uri": f"s3://{bucket}/{key}"}}
    try:
        return checked_event({**members, **fixed})
    except ContractError as error:
        raise ContractError(f"{where}: {error}") from error


def _id(record: Mapping[Any, Any]) -> str:
    """The same for the same notification however often it is sent, another for each object of one request."""
    match record.get("responseElements"):
        case {"x-amz-request-id": str(request), "x-amz-id-2": str(host)}:
            known = f"{request}.{host}."
        case {"x-amz-request-id": str(request)}:
            known = f"{request}."
        case _:
            known = ""
    told = {name: record.get(name) for name in ("eventName", "eventTime", "s3")}
    digest = digest_of(told).removeprefix("sha256:")
    return f"{known[: _ID_LIMIT - len(digest)]}{digest[:_DIGITS] if known else digest}"


def _text(record: Mapping[Any, Any], where: str, *path: str) -> str:
    found: Any = record
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # decoded
    if not isinstance(found, str) or not found:
        raise ContractError(f"{where}: {'.'.join(path)} is missing, or no text")
    return found
