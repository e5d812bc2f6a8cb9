"""What a message from outside says: a CloudEvent in any of its modes, a batch of them, a bucket's notification, or a plain message that a
mapping is declared for. Pure: the same bytes are the same events, and anything else than an event is a `ContractError`.

The workspace is the first word of the routing key where another word follows and the message came by our own exchange, because there the
broker checks who may use which keys; else it is the receiver's own.
"""

import re
from collections.abc import Mapping
from typing import Any

from penstock.contracts.cloud_events import CloudEvent, ReceivedEvent
from penstock.contracts.errors import ContractError
from penstock.engine.events.bucket_notifications import is_notification, notified_events
from penstock.engine.events.cloud_event_formats import binary_event, formatted_events, is_cloud_event_format, structured_event
from penstock.engine.events.foreign_sources import check_foreign
from penstock.engine.events.plain_json import json_of
from penstock.engine.events.plain_messages import NO_MAPPINGS, Mappings, mapped_event
from penstock.transport.bus import Delivery, Exchange, Properties

RECEIVED_LIMIT = 4 * 1024 * 1024
"""Bytes of a message with many events; of each of them `EVENT_LIMIT` says more."""
_PREFIX = re.compile(r"cloudevents[:_]", re.IGNORECASE)
_WORKSPACE = re.compile(r"([a-z0-9][a-z0-9_-]{0,62})\..")


def received(delivery: Delivery, now_us: int, default_workspace: str, mappings: Mappings = NO_MAPPINGS) -> list[ReceivedEvent]:
    """The events of a delivery, in their order; none of an empty one, by which somebody only says that there is something to look at.

    :raises ContractError: it is no event that can be kept; the text is for whoever sent it.
    """
    told = delivery.properties
    workspace = workspace_of(told, default_workspace)
    via, events = events_of(delivery.body, told, mappings, workspace)
    found = [ReceivedEvent(workspace=workspace, via=via, event=event, sender=told.user_id, received_at=now_us) for event in events]
    check_foreign(found)
    return found


def workspace_of(told: Properties, default_workspace: str) -> str:
    found = _WORKSPACE.match(told.key) if told.exchange == Exchange.INGEST else None
    return default_workspace if found is None else found[1]


def events_of(body: bytes, told: Properties, mappings: Mappings, workspace: str) -> tuple[str, list[CloudEvent]]:
    """The way that they came, and the events."""
    if len(body) > RECEIVED_LIMIT:
        raise ContractError(f"the message has {len(body)} bytes, {RECEIVED_LIMIT} at most: let the event name where its data is")
    if is_cloud_event_format(told.content_type):
        return "amqp", formatted_events(told.content_type, body)
    attributes = _attributes(told.headers)
    if attributes:
        return "amqp", [binary_event(attributes, told.content_type, body)]
    mapping = mappings.chosen(workspace, told)
    if mapping is not None:
        return "plain", [mapped_event(mapping, body)]
    return _undeclared(body) if body else ("amqp", [])


def _attributes(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {name[_prefix.end() :]: value for name, value in headers.items() if (_prefix := _PREFIX.match(name)) is not None}


def _undeclared(body: bytes) -> tuple[str, list[CloudEvent]]:
    message = json_of(body, "the message")
    if is_notification(message):
        return "s3", notified_events(message)
    if isinstance(message, dict) and "specversion" in message:
        return "amqp", [structured_event(message)]
    raise ContractError(
        "the message is neither a CloudEvent (content type application/cloudevents+json, or headers cloudEvents:id, ...) nor a bucket's "
        "notification, and no mapping is declared for messages like it: see `penstock events mappings`"
    )
