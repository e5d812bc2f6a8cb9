"""Frames of messages, read so that no publisher can end the connections of those who consume.

A broker lets through what the library's decoder fails on, or takes long for: times beyond the calendar, text that is no UTF-8, tables in
tables. One such message would close the consumer's connection at every delivery. So the properties of a message are decoded when
somebody asks for them, and a routing key that is no text is read as far as it is. The library has no place to say so: `read_safely`
exchanges the function by which it decodes frames.
"""

import struct
from collections.abc import Callable

import pamqp.frame
from pamqp.commands import Basic
from pamqp.exceptions import UnmarshalingException
from pamqp.header import ContentHeader
from typing_extensions import override

READABLE_BYTES = 32 * 1024
"""Of properties; decoding takes time that grows with the square of it."""
_METHOD, _HEADER = 1, 2
_START = struct.Struct(">BHI")
_BODY_SIZE = struct.Struct(">HHQ")
_DELIVER = struct.pack(">HH", 60, 60)
Unmarshal = Callable[[bytes], tuple[int, int, pamqp.frame.FrameTypes]]


class LazyHeader(ContentHeader):
    """The header of a message. Properties that can't be decoded are as if there were none."""

    def __init__(self, payload: bytes) -> None:
        _, _, size = _BODY_SIZE.unpack_from(payload)
        super().__init__(0, size)
        self._payload: bytes | None = payload

    @property  # type: ignore[explicit-override]  # of what is no property there
    @override
    def properties(self) -> Basic.Properties:  # pyright: ignore[reportIncompatibleVariableOverride]  # decoded late
        if self._payload is not None:
            payload, self._payload = self._payload, None
            self._properties = _properties(payload)
        return self._properties

    @properties.setter
    def properties(self, given: Basic.Properties) -> None:
        self._properties = given


def read_safely() -> None:
    """Has the library read frames so, in this process; again is no more."""
    if pamqp.frame.unmarshal is not _unmarshal:
        pamqp.frame.unmarshal = _unmarshal


def _properties(payload: bytes) -> Basic.Properties:
    header = ContentHeader()
    try:
        if len(payload) <= READABLE_BYTES:
            header.unmarshal(payload)
            return header.properties
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError, OSError, struct.error):
        pass
    return Basic.Properties()


def _unmarshal(data_in: bytes) -> tuple[int, int, pamqp.frame.FrameTypes]:
    data = data_in
    kind, channel, size = _START.unpack_from(data)
    if kind == _HEADER and len(data) == _START.size + size + 1:
        return len(data), channel, LazyHeader(data[_START.size : -1])
    try:
        return _of_library(data)
    except UnmarshalingException:
        payload = data[_START.size : -1]
        if kind != _METHOD or not payload.startswith(_DELIVER):
            raise
        return len(data), channel, _delivery(payload[len(_DELIVER) :])


def _delivery(rest: bytes) -> Basic.Deliver:
    """A delivery whose names are no text."""
    tag, rest = _short(rest)
    number, redelivered = struct.unpack_from(">QB", rest)
    exchange, rest = _short(rest[9:])
    key, _ = _short(rest)
    found = Basic.Deliver(tag, number, bool(redelivered))
    # After the construction, which looks at the exchange's name.
    found.exchange, found.routing_key = exchange, key
    return found


def _short(data: bytes) -> tuple[str, bytes]:
    end = 1 + data[0]
    return data[1:end].decode("utf-8", "replace"), data[end:]


_of_library: Unmarshal = pamqp.frame.unmarshal
