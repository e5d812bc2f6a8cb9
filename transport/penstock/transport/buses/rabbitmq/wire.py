"""AMQP frames of the three methods that every message needs, as bytes. Pure; all other methods are the library's to encode."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.contracts.errors import ContractError

_METHOD, _HEADER, _BODY = 1, 2, 3
_END = b"\xce"
_FRAME = struct.Struct(">BHI")
_BASIC = 60
_PUBLISH, _ACK, _NACK = 40, 80, 120
_METHOD_START = struct.Struct(">HHH")
_SETTLE = struct.Struct(">BHIHHQBB")
_HEADER_START = struct.Struct(">HHQH")
# Of the properties: content type and headers where there are any, then delivery mode, message id and user id, in the order of their bits.
_CONTENT_TYPE, _HEADERS = 1 << 15, 1 << 13
_PROPERTIES = 1 << 12 | 1 << 7 | 1 << 4
_TRANSIENT, _PERSISTENT = 1, 2
_FRAME_OVERHEAD = 8
_TABLE_LIMIT = 64 * 1024
"""Properties can't be divided among frames, of which the smallest that brokers agree to by default has twice as many bytes."""


def short(text: str) -> bytes:
    """A short string with its length.

    :raises ValueError: it has more than 255 bytes.
    """
    data = text.encode()
    if len(data) > 255:
        raise ValueError(f"{text[:40]!r}… has {len(data)} bytes; AMQP takes 255")
    return bytes((len(data),)) + data


@dataclass(frozen=True, slots=True)
class Described:
    """The properties that say what a message is, encoded, and their bits."""

    flags: int
    data: bytes


_NOTHING = Described(0, b"")


def described_by(content_type: str, headers: Mapping[str, str | bool | int]) -> Described:
    """:raises ContractError: AMQP has no room for a name or a value."""
    if not content_type and not headers:
        return _NOTHING
    try:
        parts = (short(content_type) if content_type else b"", _table(headers) if headers else b"")
    except (ValueError, struct.error) as error:
        raise ContractError(f"the content type or a header can't be sent: {error}") from error
    return Described((_CONTENT_TYPE if content_type else 0) | (_HEADERS if headers else 0), b"".join(parts))


def _table(headers: Mapping[str, str | bool | int]) -> bytes:
    fields: list[bytes] = []
    for name, value in headers.items():
        fields.append(short(name))
        match value:
            case bool():
                fields.append(b"t" + bytes((value,)))
            case int():
                fields.append(b"l" + struct.pack(">q", value))
            case str():
                text = value.encode()
                fields.append(b"S" + struct.pack(">I", len(text)) + text)
    data = b"".join(fields)
    if len(data) > _TABLE_LIMIT:
        raise ValueError(f"the headers have {len(data)} bytes, {_TABLE_LIMIT} at most")
    return struct.pack(">I", len(data)) + data


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message and what the broker is to do with it. `user` must be the connection's own, or the broker refuses it."""

    exchange: str
    key: str
    body: bytes
    user: str
    is_mandatory: bool
    is_persistent: bool
    described: Described = _NOTHING


def publish_frames(channel: int, frame_limit: int, message_id: str, message: OutgoingMessage) -> bytes:
    """A whole message: method, header and body in frames of at most `frame_limit` bytes."""
    body = message.body
    method = _METHOD_START.pack(_BASIC, _PUBLISH, 0) + short(message.exchange) + short(message.key) + bytes((message.is_mandatory,))
    mode = _PERSISTENT if message.is_persistent else _TRANSIENT
    described = message.described
    opening = _HEADER_START.pack(_BASIC, 0, len(body), _PROPERTIES | described.flags)
    header = b"".join((opening, described.data, bytes((mode,)), short(message_id), short(message.user)))
    frames = [_FRAME.pack(_METHOD, channel, len(method)), method, _END, _FRAME.pack(_HEADER, channel, len(header)), header, _END]
    step = frame_limit - _FRAME_OVERHEAD
    for start in range(0, len(body), step):
        part = body[start : start + step]
        frames += (_FRAME.pack(_BODY, channel, len(part)), part, _END)
    return b"".join(frames)


def ack_frame(channel: int, tag: int, *, is_multiple: bool) -> bytes:
    """The delivery `tag`, or all up to it, is done."""
    return _SETTLE.pack(_METHOD, channel, 13, _BASIC, _ACK, tag, is_multiple, _END[0])


def refuse_frame(channel: int, tag: int) -> bytes:
    """The delivery `tag` is a dead letter."""
    return _SETTLE.pack(_METHOD, channel, 13, _BASIC, _NACK, tag, 0, _END[0])


def requeue_frame(channel: int, tag: int) -> bytes:
    """The delivery `tag` goes back to its queue."""
    return _SETTLE.pack(_METHOD, channel, 13, _BASIC, _NACK, tag, 2, _END[0])
