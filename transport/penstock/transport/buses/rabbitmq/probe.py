"""Whether a message sent comes back: connections can look alive while nothing passes."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from penstock.contracts.errors import BusUnavailable
from penstock.transport.bus import Envelope, Exchange, Listener
from penstock.transport.buses.rabbitmq.publisher import Publisher

_AGAIN_SECONDS = 1.0


class Probe:
    """Every `seconds` a ping through a queue of its own; one that isn't heard in `lost_seconds` condemns the connections.

    It goes by an exchange that everybody may publish to: by the default one, a runner could reach the queues of others too.
    """

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
            try:
                await self._attend()
            except BusUnavailable:
                await asyncio.sleep(_AGAIN_SECONDS)
            except TimeoutError:
                if not await self._is_excused():
                    self._condemn(f"a message to oneself did not come back within {self._lost_seconds:g} seconds")

    async def _attend(self) -> None:
        """Until the connection is lost, or a ping, or the queue for it, is not there in time."""
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self._lost_seconds):
                own = await stack.enter_async_context(self._listen())
            bodies = aiter(own)
            while True:
                async with asyncio.timeout(self._lost_seconds):
                    await self._publisher.publish(Envelope(exchange=Exchange.LOGS, key=own.name, body=b""))
                    await anext(bodies)
                await asyncio.sleep(self._seconds)

    async def _is_excused(self) -> bool:
        """A broker in need takes no message, and the connection is well; one that is lost already needs no verdict."""
        try:
            return await self._publisher.is_blocked()
        except BusUnavailable:
            return True
