"""An API that people log in to, as a provider on loopback tells of them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from penstock.deploy.services.oidc_people import Issuer, OidcPeople
from penstock.engine.api.app import create_app
from penstock.engine.api.settings import ApiSettings
from penstock.engine.stores.sqlite import MemoryStore
from penstock.transport.artifact_stores.memory import MemoryArtifactStore
from penstock.transport.buses.memory import MemoryBus
from tests.engine.api.serving import TOKEN
from tests.servers.oidc import CLIENT, Provider


class Door:
    """`as_admin` shows the token of everything; `asked` whatever token it is given."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def asked(self, token: str, method: str, path: str, **fields: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", **fields.pop("headers", {})}
        return await self._client.request(method, f"/v1{path}", headers=headers, **fields)

    async def as_admin(self, method: str, path: str, **fields: Any) -> httpx.Response:
        answer = await self.asked(TOKEN, method, path, **fields)
        assert answer.is_success, answer.text
        return answer


@asynccontextmanager
async def with_login(provider: Provider) -> AsyncGenerator[Door]:
    store, artifacts = MemoryStore(), MemoryArtifactStore()
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        people = OidcPeople(Issuer(issuer=provider.url, audience=CLIENT), http)
        app = create_app(store, MemoryBus(), artifacts, ApiSettings(token=TOKEN), people=people)
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield Door(client)
    await store.close()
    artifacts.close()
