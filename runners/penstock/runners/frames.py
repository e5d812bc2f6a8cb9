"""Frames between runner, zygote and guest: msgpack with a length before it, on a local stream socket.

Nothing else than plain data crosses: a guest can say anything, so nothing is unpickled.
"""

import socket
import struct
from typing import Any

import msgpack

MESSAGE_BYTES = 1 << 17
"""Room for a message between zygote and runner."""
FRAME_LIMIT = 64 * 1024 * 1024
_LENGTH = struct.Struct("<I")


class FrameError(Exception):
    """Bytes that are no frame: whoever sent them does not keep to the agreement."""


def pack(frame: list[Any]) -> bytes:
    """The bytes of one frame on a stream."""
    body: bytes = msgpack.packb(frame)
    return _LENGTH.pack(len(body)) + body


def pack_message(frame: list[Any]) -> bytes:
    """The bytes of one frame where messages have boundaries of their own."""
    body: bytes = msgpack.packb(frame)
    return body


def unpack(body: bytes | bytearray) -> list[Any]:
    """The frame in a message that has its own boundary."""
    try:
        frame: Any = msgpack.unpackb(body, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise FrameError(f"not a frame: {error}") from error
    if not isinstance(frame, list) or not frame or not isinstance(frame[0], str):
        raise FrameError("a frame is a list that begins with its name")
    return frame  # pyright: ignore[reportUnknownVariableType]  # msgpack has no types to say more


class FrameBuffer:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[list[Any]]:
        """The frames that are complete with `data`.

        :raises FrameError: it is not a stream of frames.
        """
        self._data += data
        frames: list[list[Any]] = []
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if length > FRAME_LIMIT:
                raise FrameError(f"a frame of {length} bytes is over the limit of {FRAME_LIMIT}")
            if len(self._data) < _LENGTH.size + length:
                break
            frames.append(unpack(self._data[_LENGTH.size : _LENGTH.size + length]))
            del self._data[: _LENGTH.size + length]
        return frames


def receive(stream: socket.socket) -> list[Any] | None:
    """The next frame of a blocking socket; None at its end."""
    head = _exactly(stream, _LENGTH.size)
    if head is None:
        return None
    body = _exactly(stream, _LENGTH.unpack(head)[0])
    return None if body is None else unpack(body)


def _exactly(stream: socket.socket, count: int) -> bytes | None:
    data = stream.recv(count)
    while data and len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            return None
        data += more
    return data or None
