"""What a client that is not ours said about its message, as plain values. Pure; nothing in it can make reading fail."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from penstock.transport.bus import Properties

_DEPTH = 8
"""Headers that are nested deeper are left out; nothing of ours reads them."""


def properties_of(frame: Basic.Deliver, header: ContentHeader) -> Properties:
    told = header.properties
    headers = cast("Mapping[Any, Any]", told.headers or {})
    return Properties(
        content_type=told.content_type or "",
        headers={_text(name): _plain(value, _DEPTH) for name, value in headers.items()},
        exchange=frame.exchange or "",
        key=frame.routing_key or "",
        user_id=told.user_id or "",
    )


def _plain(value: Any, depth: int) -> Any:
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return value
        case datetime():
            return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z")
        case Decimal():
            return float(value)
        case _ if depth == 0:
            return None
        case [*items]:
            return [_plain(item, depth - 1) for item in items]
        case {**parts}:
            return {_text(name): _plain(item, depth - 1) for name, item in parts.items()}
        case _:
            return str(value)


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
