"""A TCP proxy whose connections a test stalls or cuts: what a network does to a bus."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from yarl import URL


class Proxy:
    """Forwards to one port. While stalled it takes bytes and passes none on."""

    def __init__(self, target: URL) -> None:
        self._target = target
        self.url = ""
        self.connections = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def stall(self) -> None:
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """Ends every connection without a word."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection(self._target.host, self._target.port)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, far_writer))
                group.create_task(self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            self._writers.discard(writer)
            writer.close()


@asynccontextmanager
async def proxied(url: str) -> AsyncGenerator[Proxy, None]:
    """A proxy before the broker at `url`; its own `url` goes through it."""
    proxy = Proxy(URL(url))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = str(URL(url).with_port(server.sockets[0].getsockname()[1]))
    try:
        yield proxy
    finally:
        server.close()
        proxy.flow()
        proxy.cut()
        await server.wait_closed()
