"""A way to an S3 server on which requests fail as a test says. It also counts them."""

import io
from collections import Counter
from dataclasses import dataclass
from typing import Self

import aiohttp
from aiohttp import web

from tests.servers.process import free_port

_DROPPED = {"Expect", "Transfer-Encoding", "Connection", "Content-Length"}


@dataclass(slots=True)
class Fault:
    """What becomes of the next `times` requests of `method` whose path holds `part`."""

    method: str
    part: str = ""
    times: int = 1
    status: int = 0
    """Answered in place of the server, with `code`."""
    code: str = ""
    flips_request: bool = False
    flips_answer: bool = False
    cuts_answer: bool = False
    """The connection ends in the middle of the body."""


class FaultyWay:
    """`async with FaultyWay(endpoint) as way`; clients go to `way.endpoint`."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._port = free_port()
        self._session: aiohttp.ClientSession | None = None
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        self.faults: list[Fault] = []
        self.counts: Counter[str] = Counter()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        self.counts[request.method] += 1
        fault = next((it for it in self.faults if it.times > 0 and it.method == request.method and it.part in request.raw_path), None)
        if fault is not None:
            fault.times -= 1
            if fault.status:
                await request.read()
                return web.Response(status=fault.status, text=f"<Error><Code>{fault.code}</Code></Error>", content_type="application/xml")
        return await self._forward(request, fault)

    async def _forward(self, request: web.Request, fault: Fault | None) -> web.StreamResponse:
        if self._session is None:
            raise web.HTTPBadGateway
        sent = await request.read()
        if fault is not None and fault.flips_request:
            sent = _flipped(sent)
        # The host stays what the client signed.
        headers = [(name, value) for name, value in request.headers.items() if name not in _DROPPED]
        async with self._session.request(request.method, self._server + request.raw_path, headers=headers, data=io.BytesIO(sent)) as answer:
            body = await answer.read()
            response = web.StreamResponse(status=answer.status)
            for name, value in answer.headers.items():
                if name not in _DROPPED or (name == "Content-Length" and request.method == "HEAD"):
                    response.headers[name] = value
        if request.method != "HEAD":
            response.content_length = len(body)
        await response.prepare(request)
        if fault is not None and fault.cuts_answer:
            await response.write(body[: len(body) // 2])
            if request.transport is not None:
                request.transport.close()
            return response
        await response.write(_flipped(body) if fault is not None and fault.flips_answer else body)
        return response


def _flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:] if data else data
