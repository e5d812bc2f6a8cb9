"""Events over HTTP: taken in, listed, replayed."""

from typing import Any

from fastapi import APIRouter, Request, Response

from penstock.contracts.errors import ContractError
from penstock.engine.api.event_mappings import router as mappings_router
from penstock.engine.api.incoming import Accepted, accepted, body_within, read_events, received_now, told_by
from penstock.engine.api.services import Serving
from penstock.engine.events.bucket_notifications import is_notification, notified_events
from penstock.engine.events.cloud_event_formats import BATCH, STRUCTURED
from penstock.engine.events.plain_json import json_of

router = APIRouter(tags=["events"])

_ATTRIBUTES = ("id", "source", "type")
_CLOUD_EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", *_ATTRIBUTES],
    "properties": {
        "specversion": {"const": "1.0"},
        **{name: {"type": "string", "minLength": 1, "maxLength": 255} for name in _ATTRIBUTES},
        "time": {"type": "string", "format": "date-time"},
        "subject": {"type": "string", "maxLength": 1024},
        "datacontenttype": {"type": "string", "maxLength": 255},
        "dataschema": {"type": "string", "maxLength": 1024},
        "data": {},
        "data_base64": {"type": "string", "contentEncoding": "base64"},
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            STRUCTURED: {"schema": _CLOUD_EVENT},
            BATCH: {"schema": {"type": "array", "items": _CLOUD_EVENT, "maxItems": 1000}},
            "application/json": {"schema": _CLOUD_EVENT},
        },
    }
}
_NOTIFICATION = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "properties": {"Records": {"type": "array"}}}}},
    }
}


@router.post("/events", status_code=202, response_model=Accepted, openapi_extra=_BODY, summary="Take in a CloudEvent, or a batch of them")
async def take_in(request: Request, services: Serving) -> Response:
    """CloudEvents 1.0: structured, batched, or binary with the attributes in `ce-` headers and the data in the body. The same source and id
    again change nothing. `Location` says where the event can be looked at."""
    body = await body_within(request)
    return await accepted(request, services, read_events(services, body, told_by(request)))


@router.post(
    "/events/s3", status_code=202, response_model=Accepted, openapi_extra=_NOTIFICATION, summary="Take in a notification of a bucket"
)
async def take_notification(request: Request, services: Serving) -> Response:
    """As S3, MinIO and Ceph send it: an event for each object. The message by which a bucket tries the address is none."""
    message = json_of(await body_within(request), "the notification")
    if not is_notification(message):
        raise ContractError("this is no notification of a bucket: it has no `Records` of `s3` objects")
    return await accepted(request, services, received_now(services, "s3", notified_events(message)))


router.include_router(mappings_router)
