"""Publishing: what must not get lost is persistent and confirmed, the rest is written and forgotten."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from aiormq.abc import AbstractConnection

from penstock.contracts.errors import ContractError
from penstock.contracts.messages import COMMAND_LIMIT, MESSAGE_LIMIT
from penstock.transport.bus import Envelope, Exchange
from penstock.transport.buses.rabbitmq.channel import BusChannel, open_channel
from penstock.transport.buses.rabbitmq.failures import translated
from penstock.transport.buses.rabbitmq.link import Link
from penstock.transport.buses.rabbitmq.topology import check_exchanges
from penstock.transport.buses.rabbitmq.wire import OutgoingMessage, described_by

_CONFIRMED_CHANNELS = 2
_KEY_LIMIT = 255
_CONFIRMED = frozenset({Exchange.WORK, Exchange.REPORTS, Exchange.INGEST, Exchange.EVENTS})
_MANDATORY = frozenset({Exchange.WORK, Exchange.REPORTS, Exchange.INGEST})


@dataclass(slots=True)
class PublishSession:
    """The channels of one connection. `plain` has no confirms: a message on it costs nothing but its bytes."""

    connection: AbstractConnection
    confirmed: tuple[BusChannel, ...]
    plain: BusChannel
    turn: "itertools.cycle[BusChannel]" = field(init=False)

    def __post_init__(self) -> None:
        self.turn = itertools.cycle(self.confirmed)


class Publisher:
    """Sends envelopes over a link of its own."""

    def __init__(self, link: "Link[PublishSession]", user: str, seconds: float) -> None:
        self._link = link
        self._user = user
        self._seconds = seconds

    async def publish(self, envelope: Envelope) -> None:
        exchange = "" if envelope.reply_queue is not None or envelope.exchange is None else envelope.exchange
        key = envelope.key if envelope.reply_queue is None else envelope.reply_queue
        _check(envelope, key)
        session = self._link.current
        is_confirmed = exchange in _CONFIRMED
        channel = next(session.turn) if is_confirmed else session.plain
        described = described_by(envelope.content_type, envelope.headers)
        message = OutgoingMessage(exchange, key, envelope.body, self._user, exchange in _MANDATORY, is_confirmed, described)
        with translated(f"publishing to {exchange or 'the queue'} {key!r}"):
            async with asyncio.timeout(self._seconds):
                # While the broker blocks the connection nothing is written: bytes in its socket would be delivered later.
                await session.connection.ready()
                confirmation = channel.post(message)
                if confirmation is not None:
                    await confirmation

    async def is_blocked(self) -> bool:
        """Whether the broker has said that it takes no messages for now."""
        session = self._link.current
        try:
            async with asyncio.timeout(0.05):
                await session.connection.ready()
        except TimeoutError:
            return True
        return False


async def open_publishing(connection: AbstractConnection, ended: Callable[[str], None]) -> PublishSession:
    """The channels to publish on, once it is known that all exchanges exist: a message to a missing one would close its channel."""
    plain = await open_channel(connection)
    await check_exchanges(plain)
    confirmed = [await open_channel(connection, confirms=True) for _ in range(_CONFIRMED_CHANNELS)]
    for channel in (plain, *confirmed):
        channel.on_closed(lambda reason: ended(f"a channel was closed: {reason}"))
    return PublishSession(connection, tuple(confirmed), plain)


def _check(envelope: Envelope, key: str) -> None:
    """:raises ContractError: no broker would take such a message, however often it is sent."""
    if len(key.encode()) > _KEY_LIMIT:
        raise ContractError(f"the routing key {key[:60]!r}… has more than the {_KEY_LIMIT} bytes that AMQP takes; use shorter names")
    limit = COMMAND_LIMIT if envelope.exchange in _MANDATORY else MESSAGE_LIMIT
    if len(envelope.body) > limit:
        raise ContractError(
            f"a message of {len(envelope.body)} bytes for {envelope.exchange or envelope.reply_queue!r} is over the limit of {limit}; "
            "large values travel as artifacts"
        )
