"""aiormq's channel with shorter ways for what happens per message: no task a delivery, no lock a publish, one write for all of a turn.

Overridden are the handlers of three frames; opening, closing and every call with an answer are the library's.
"""

import asyncio
import secrets
from collections.abc import Callable

from aiormq.abc import AbstractConnection, ChannelFrame, ConfirmationFrameType, DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ChannelInvalidStateError, InvalidFrameError
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from typing_extensions import override

from penstock.contracts.errors import BusUnavailable
from penstock.transport.buses.rabbitmq.failures import FULL, UNROUTABLE, why_closed
from penstock.transport.buses.rabbitmq.wire import OutgoingMessage, publish_frames

OPEN_SECONDS = 10.0
Receive = Callable[[Basic.Deliver, ContentHeader, bytes], None]


class BusChannel(Channel):
    """A channel for publishing, or for one consumer. `receive` gets the frame of each delivery, its header and its body."""

    def __init__(self, connection: AbstractConnection, number: int, *, confirms: bool) -> None:
        super().__init__(connection, number, publisher_confirms=confirms, on_return_raises=confirms)
        self.receive: Receive = _ignore
        self._outgoing: list[bytes] = []
        self._is_writing = False
        self._writing: asyncio.Task[None] | None = None
        self._writes: asyncio.Queue[ChannelFrame] = connection.write_queue  # pyright: ignore[reportUnknownMemberType]  # untyped there
        self._sent = 0
        self._unconfirmed: dict[int, asyncio.Future[None]] = {}
        # A message id is never used twice, on whatever channel: returned messages are known by theirs.
        self._prefix = secrets.token_hex(8)
        self._end: str | None = None
        self._listening: list[Callable[[str], None]] = [self._reject]
        closing: asyncio.Future[object] = self.closing  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # untyped there
        closing.add_done_callback(lambda ended: self.abandon(why_closed(ended)))

    def on_closed(self, call: Callable[[str], None]) -> None:
        """`call` is told why, once the channel is closed."""
        if self._end is None:
            self._listening.append(call)
        else:
            call(self._end)

    def abandon(self, reason: str) -> None:
        """Tells everybody that nothing comes of it any more, without waiting for a broker that may never answer."""
        if self._end is None:
            self._end = reason
            for call in self._listening:
                call(reason)

    def post(self, message: OutgoingMessage) -> "asyncio.Future[None] | None":
        """Sends a message; what it returns is done when the broker has confirmed it.

        :raises ChannelInvalidStateError: the channel is closed.
        """
        if self._end is not None or self.is_closed:
            raise ChannelInvalidStateError(self._end or "the channel is closed")
        number = self._sent + 1
        self.write(publish_frames(self.number, self.connection.connection_tune.frame_max, f"{self._prefix}-{number}", message))
        self._sent = number
        if not self.publisher_confirms:
            return None
        confirmation = self._unconfirmed[number] = self.loop.create_future()
        return confirmation

    def write(self, frames: bytes) -> None:
        """Sends bytes, together with all others of this turn of the event loop."""
        self._outgoing.append(frames)
        if not self._is_writing:
            self._is_writing = True
            self.loop.call_soon(self._write_out)

    async def written(self) -> None:
        """Hands all over to the connection: what the library sends next comes after it."""
        if self._outgoing and not self.is_closed:
            await self._writes.put(self._taken())

    def _write_out(self) -> None:
        if self.is_closed:
            self._outgoing.clear()
        elif self._outgoing and self._writes.full():
            self._writing = self.loop.create_task(self._write_later())
            return
        elif self._outgoing:
            self._writes.put_nowait(self._taken())
        self._is_writing = False

    async def _write_later(self) -> None:
        while self._outgoing and not self.is_closed:
            await self._writes.put(self._taken())
        self._is_writing = False

    def _taken(self) -> ChannelFrame:
        payload = b"".join(self._outgoing)
        self._outgoing.clear()
        return ChannelFrame(payload=payload, should_close=False)

    @override
    async def _on_deliver_frame(self, frame: Basic.Deliver) -> None:
        header = _header(await self._get_frame())
        self.receive(frame, header, await self._read_parts(header))

    @override
    async def _on_return_frame(self, frame: Basic.Return) -> None:
        header = _header(await self._get_frame())
        message_id = header.properties.message_id
        await self._read_parts(header)
        confirmation = self._unconfirmed.pop(int((message_id or "-0").rpartition("-")[2]), None)
        if confirmation is not None and not confirmation.done():
            confirmation.set_exception(BusUnavailable(UNROUTABLE))

    @override
    async def _on_confirm_frame(self, frame: ConfirmationFrameType) -> None:
        tag = frame.delivery_tag or 0
        refused = not isinstance(frame, Basic.Ack)
        if isinstance(frame, Basic.Reject) or not frame.multiple:
            self._confirm(tag, refused=refused)
            return
        # In the order of their numbers, so the first one beyond ends it.
        for number in list(self._unconfirmed):
            if number > tag:
                break
            self._confirm(number, refused=refused)

    def _confirm(self, number: int, *, refused: bool) -> None:
        confirmation = self._unconfirmed.pop(number, None)
        if confirmation is None or confirmation.done():
            return
        if refused:
            confirmation.set_exception(BusUnavailable(FULL))
        else:
            confirmation.set_result(None)

    async def _read_parts(self, header: ContentHeader) -> bytes:
        parts: list[bytes] = []
        missing = header.body_size
        while missing > 0:
            frame = await self._get_frame()
            if not isinstance(frame, ContentBody):
                raise _unexpected(frame)
            parts.append(frame.value)
            missing -= len(frame.value)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _reject(self, reason: str) -> None:
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for confirmation in unconfirmed.values():
            if not confirmation.done():
                confirmation.set_exception(BusUnavailable(reason))


async def open_channel(connection: AbstractConnection, *, confirms: bool = False) -> BusChannel:
    """A new channel with the lowest number that is free."""
    if not connection.is_opened:
        # It would wait for an answer that nobody reads.
        raise ChannelInvalidStateError("the connection is lost")
    number = next(number for number in range(1, connection.connection_tune.channel_max or 2047) if number not in connection.channels)
    channel = BusChannel(connection, number, confirms=confirms)
    connection.channels[number] = channel
    await channel.open(timeout=OPEN_SECONDS)
    return channel


def _header(frame: object) -> ContentHeader:
    if not isinstance(frame, ContentHeader):
        raise _unexpected(frame)
    return frame


def _unexpected(frame: object) -> InvalidFrameError:
    return InvalidFrameError(f"a {type(frame).__name__} came inside of a message")


def _ignore(frame: Basic.Deliver, header: ContentHeader, body: bytes) -> None:
    """Nobody consumes."""


async def unused(_: DeliveredMessage) -> None:
    """Stands where the library wants a callback; deliveries go to `receive`."""
