"""Whether a message sent comes back: connections can look alive while nothing passes."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

import structlog

from penstock.contracts.errors import BusUnavailable
from penstock.transport.bus import Envelope, Listener
from penstock.transport.buses.rabbitmq.publisher import Publisher

_log = structlog.get_logger(__name__)
_AGAIN_SECONDS = 1.0


class Probe:
    """Every `seconds` a ping through a queue of its own; one that isn't heard in `lost_seconds` condemns the connections."""

    def __init__(
        self,
        publisher: Publisher,
        listen: Callable[[], AbstractAsyncContextManager[Listener]],
        condemn: Callable[[str], None],
        *,
        seconds: float,
        lost_seconds: float,
    ) -> None:
        self._publisher = publisher
        self._listen = listen
        self._condemn = condemn
        self._seconds = seconds
        self._lost_seconds = lost_seconds

    async def run(self) -> None:
        while True:
            with suppress(BusUnavailable):
                async with self._listen() as own:
                    await self._attend(own)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _attend(self, own: Listener) -> None:
        """Until the connection is lost."""
        bodies = aiter(own)
        while True:
            await self._publisher.publish(Envelope(reply_queue=own.name, body=b""))
            try:
                async with asyncio.timeout(self._lost_seconds):
                    await anext(bodies)
            except TimeoutError:
                if not await self._publisher.is_blocked():
                    self._condemn(f"a message to oneself did not come back within {self._lost_seconds:g} seconds")
                    return
            await asyncio.sleep(self._seconds)
