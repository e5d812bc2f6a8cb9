"""An API in this process, without sockets: a client on the app, and the ports behind it."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.spec import encode_spec
from penstock.engine.api.app import create_app
from penstock.engine.api.settings import ApiSettings
from penstock.engine.store import Store
from penstock.engine.stores.sqlite import MemoryStore
from penstock.transport.artifact_stores.memory import MemoryArtifactStore
from penstock.transport.buses.memory import MemoryBus
from tests.engine.cluster import parameter, pipeline, step

TOKEN = "a-token-of-tests-0123456789"
FLOW = pipeline(step("first"), parameters=(parameter("x", 1),))


def make_store() -> Store:
    """An empty store; a test may exchange this."""
    return MemoryStore()


class Api:
    """`http` sends the token; `bare` does not."""

    def __init__(self, settings: ApiSettings, base: str) -> None:
        self.store: Store = make_store()
        self.bus = MemoryBus()
        self.artifacts = MemoryArtifactStore()
        self.app = create_app(self.store, self.bus, self.artifacts, settings)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        self.bare = httpx.AsyncClient(transport=transport, base_url=base)
        headers = {"Authorization": f"Bearer {settings.token}"} if settings.token is not None else {}
        self.http = httpx.AsyncClient(transport=transport, base_url=base, headers=headers)

    async def submit(self, run_id: str = "run1", **fields: Any) -> httpx.Response:
        """A run of a pipeline of one step."""
        return await self.http.post("/v1/runs", json={"run_id": run_id, "spec": plain(), **fields})


_PLACES = {"digest": digest_bytes(b"x")} | dict.fromkeys(("version", "event_no", "refusal_no", "delivery"), "1")


def templates() -> list[tuple[str, str]]:
    """Method and path of every route, as the app's OpenAPI document has them."""
    app = create_app(MemoryStore(), MemoryBus(), MemoryArtifactStore(), ApiSettings(token=TOKEN))
    paths: dict[str, dict[str, Any]] = app.openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def routes() -> list[tuple[str, str]]:
    """The same, of something that could be there: what has a name is called as the pipeline of tests."""
    return [(method, re.sub(r"\{(\w+)\}", lambda place: _PLACES.get(place[1], "flow"), path)) for method, path in templates()]


def plain() -> dict[str, Any]:
    """The spec of that pipeline as plain JSON."""
    spec: dict[str, Any] = httpx.Response(200, content=encode_spec(FLOW)).json()
    return spec


@asynccontextmanager
async def api(*, token: str | None = TOKEN, base: str = "http://127.0.0.1", **settings: Any) -> AsyncGenerator[Api]:
    """An API that serves while the block lasts."""
    made = Api(ApiSettings(token=token, **settings), base)
    async with made.app.router.lifespan_context(made.app), made.bare, made.http:
        yield made
    await made.store.close()
    made.artifacts.close()
