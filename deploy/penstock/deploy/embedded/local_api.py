"""The API on an embedded engine, inside this process: what the services answer over HTTP, a laptop answers from its own rows.

So events, triggers, publishing and the like are written once, as requests, and can't differ between a laptop and services.
"""

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from typing_extensions import override

from penstock.deploy.declared_datastores import open_datastores
from penstock.deploy.embedded.engine import EmbeddedEngine
from penstock.deploy.embedded.incarnation import DEV
from penstock.deploy.remote.connection import Connection
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.local_secrets import SIGNING_KEY, dev_folder, kept_secret
from penstock.deploy.user_secrets import secret_of_user
from penstock.engine.api.app import create_app
from penstock.engine.api.settings import ApiSettings
from penstock.transport.buses.memory import MemoryBus

Call = Callable[[Coroutine[Any, Any, httpx.Response]], httpx.Response]
ADDRESS = "http://localhost"


def local_connection(engine: EmbeddedEngine) -> Connection:
    """To the API of that engine. What it would ring for, `penstock dev` finds in the rows: runs that are made here are for it to drive."""
    given = ServiceSettings.read()
    key = given.signing_key.get_secret_value() if given.signing_key is not None else kept_secret(dev_folder(engine.home) / SIGNING_KEY)
    settings = ApiSettings(owner=DEV, signing_key=key.encode(), webhooks_allowed=given.webhooks_allowed)
    datastores = open_datastores(engine.opened.store, os.environ, Path.cwd(), secret_of_user)
    app = create_app(engine.store, MemoryBus(), engine.opened.store, settings, datastores=datastores)
    return Connection(ADDRESS, None, transport=LocalTransport(app, engine.call))


class LocalTransport(httpx.BaseTransport):
    """Hands requests to an app on the engine's event loop. `call` has that loop do something, and waits."""

    def __init__(self, app: FastAPI, call: Call) -> None:
        # The app answers for what goes wrong inside of it; nothing else would be told to a client of services.
        self._asgi = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._call = call

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._call(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        given = httpx.Request(request.method, request.url, headers=request.headers, content=request.read(), extensions=request.extensions)
        answer = await self._asgi.handle_async_request(given)
        assert isinstance(answer.stream, httpx.AsyncByteStream)  # noqa: S101 - an ASGI app's answers are
        body = b"".join([part async for part in answer.stream])
        return httpx.Response(answer.status_code, headers=answer.headers, content=body, request=request)
