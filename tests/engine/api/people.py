"""Callers of an API under test: tokens of every role, made by the API itself."""

from typing import Any

import httpx

from penstock.contracts.access import Role
from tests.engine.api.serving import Api


async def new_token(served: Api, name: str, role: Role | str, *, workspace: str = "default", **fields: Any) -> dict[str, Any]:
    """A token as the API tells of it, once."""
    body = {"name": name, "role": str(role), **fields}
    answer = await served.http.post("/v1/tokens", json=body, headers={"Penstock-Workspace": workspace})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def client_of(served: Api, token: str, **headers: str) -> httpx.AsyncClient:
    """A client that shows that token. It holds nothing that would have to be closed."""
    transport = httpx.ASGITransport(served.app, raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {token}", **headers})


async def client_with(served: Api, role: Role | str, *, workspace: str = "default", **fields: Any) -> httpx.AsyncClient:
    """A client with a token of that role in that workspace."""
    made = await new_token(served, f"{workspace}-{role}", role, workspace=workspace, **fields)
    return client_of(served, made["token"])
