"""Requests that no client of ours sends: odd bodies for every route, names that are none, bytes that are hardly HTTP. None is an internal
error, and the API goes on.

Archives are in no request: code, directories and lists travel as single artifacts under their digests, and nobody here unpacks anything.
"""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog.testing

from penstock.contracts.encoding import digest_bytes
from penstock.deploy.services.api import server
from tests.engine.api.serving import TOKEN, Api, api, plain, routes, templates
from tests.security.tables import BODIES, NAMES, deep_map

pytestmark = pytest.mark.usefixtures("in_a_database")
WRITING = sorted({(method, path) for method, path in routes() if method in ("POST", "PUT")})
TYPES = [
    "application/json",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "text/plain",
    "application/x-tar",
    "\x7f/\xff",
    "",
]


@pytest.fixture
def in_a_database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stricter than memory: there is text that it does not keep."""
    from penstock.engine.stores.postgres import PostgresStore  # noqa: PLC0415 - the drivers take a while
    from tests.engine.api import serving  # noqa: PLC0415 - exchanged here

    url = request.getfixturevalue("database")
    monkeypatch.setattr(serving, "make_store", lambda: PostgresStore(url))


async def is_well(served: Api, answer: httpx.Response, what: str) -> None:
    assert answer.status_code < 500, f"{what}: {answer.status_code} {answer.text[:300]}"
    assert len(answer.content) < 1_000_000, what


async def test_no_route_fails_for_its_body() -> None:
    async with api(signing_key=b"k" * 32, json_limit_bytes=1024 * 1024) as served:
        await served.http.post("/v1/pipelines/flow/versions", json={"spec": plain()})
        for method, path in WRITING:
            for name, body in BODIES.items():
                answer = await served.http.request(method, path, content=body[:500_000], headers={"Content-Type": "application/json"})
                await is_well(served, answer, f"{method} {path} {name}")
        assert (await served.http.get("/v1/status")).status_code == 200


async def test_no_route_fails_for_its_content_type() -> None:
    async with api(signing_key=b"k" * 32) as served:
        for method, path in WRITING:
            for kind in TYPES:
                headers = [(b"Authorization", f"Bearer {TOKEN}".encode()), (b"Content-Type", kind.encode("latin-1"))]
                answer = await served.bare.request(method, path, content=BODIES["tar"], headers=headers)
                await is_well(served, answer, f"{method} {path} {kind!r}")


def bodies_of(served: Api) -> dict[tuple[str, str], dict[str, Any]]:
    """For every route that takes JSON, an object with every field that it has: text where it may."""
    document = served.app.openapi()
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for (method, path), template in zip(routes(), templates(), strict=True):
        content = document["paths"][template[1]][method.lower()].get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        if schema.get("properties"):
            found[method, path] = schema["properties"]
    return found


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"], ids=["nul", "surrogate"])
async def test_no_route_fails_for_text_in_its_fields(text: str) -> None:
    async with api(signing_key=b"k" * 32) as served:
        await served.http.post("/v1/pipelines/flow/versions", json={"spec": plain(), "triggers": []})
        await served.http.post("/v1/components/flow/versions", json={"kind": "pipeline", "spec": plain()})
        good: dict[str, Any] = {
            "spec": plain(),
            "kind": "webhook",
            "url": "https://example.org/x",
            "types": ["x"],
            "name": "flow",
            "run_id": "r",
            "role": "viewer",
            "pipeline": "flow",
            "on": {"kind": "event", "type": "x"},
            "type": '"x"',
            "source": '"y"',
            "version": "1",
            "specversion": "1.0",
            "id": "1",
            "slots_per_runner": 1,
            "approved": True,
            "of": digest_bytes(b"x"),
        }
        for (method, path), fields in bodies_of(served).items():
            known = {name: good[name] for name in fields if name in good}
            for field in fields:
                for value in (text, [text], {text: text, "kind": "event", "type": text}):
                    answer = await served.bare.request(
                        method,
                        path,
                        content=json.dumps({**known, field: value}).encode(),
                        headers={"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
                    )
                    await is_well(served, answer, f"{method} {path} {field}={value!r}"[:300])
        assert (await served.http.get("/v1/runs")).status_code == 200


def naming(name: str) -> list[tuple[str, str, Any]]:
    """Requests that would give that name to something."""
    on = {"kind": "event", "type": "x"}
    return [
        ("POST", "/workspaces", {"name": name}),
        ("POST", "/tokens", {"name": name, "role": "viewer"}),
        ("POST", "/subscriptions", {"name": name, "kind": "bus"}),
        ("POST", "/pipelines/flow/versions", {"spec": plain(), "version": name}),
        ("PUT", "/triggers/flow", {"name": name, "pipeline": "flow", "on": on}),
        ("PUT", "/triggers/flow", {"name": "flow", "pipeline": name, "on": on}),
        ("PUT", "/pools/flow", {"name": name, "slots_per_runner": 1}),
        ("POST", "/named-artifacts/flow/versions", {"of": digest_bytes(b"x"), "alias": name}),
        ("POST", "/runs", {"run_id": name, "spec": plain()}),
        ("PUT", "/events/mappings/flow", {"name": name, "type": '"x"', "source": '"y"'}),
        *((method, path.removeprefix("/v1").replace("flow", quoted(name)), {}) for method, path in WRITING if "flow" in path),
    ]


async def test_nothing_is_made_under_a_name_that_is_none() -> None:
    async with api() as served:
        await served.http.put(f"/v1/artifacts/{digest_bytes(b'x')}", content=b"x")
        for name in NAMES.values():
            for method, path, body in naming(name):
                answer = await served.http.request(method, f"/v1{path}", json=body)
                assert 400 <= answer.status_code < 500, f"{method} {path[:200]} {name[:80]!r}: {answer.status_code} {answer.text[:200]}"
        for listed in ("workspaces", "tokens", "subscriptions", "pipelines", "triggers", "pools", "runs"):
            found = (await served.http.get(f"/v1/{listed}")).json()[listed]
            assert [one["name"] for one in found] == (["default"] if listed == "workspaces" else [])


def quoted(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name[:3000].encode())


async def test_a_packed_body_is_never_unpacked() -> None:
    async with api() as served:
        packed = gzip.compress(json.dumps({"name": "packed"}).encode())
        for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
            answer = await served.http.post(
                "/v1/workspaces", content=packed, headers={"Content-Encoding": encoding, "Content-Type": "application/json"}
            )
            assert answer.status_code in (415, 422)


async def test_no_route_takes_an_archive() -> None:
    async with api() as served:
        for path, methods in served.app.openapi()["paths"].items():
            for method in methods.values():
                kinds = set(method.get("requestBody", {}).get("content", {}))
                assert not {kind for kind in kinds if "zip" in kind or "tar" in kind or "multipart" in kind}, path


# On a socket

HEAD = f"Host: x\r\nAuthorization: Bearer {TOKEN}\r\n"
JSON = HEAD + "Content-Type: application/json\r\n"
RAW: dict[str, str] = {
    "nothing": "\r\n\r\n",
    "one word": "GET\r\n\r\n",
    "an old version": "GET /v1/health HTTP/0.9\r\n\r\n",
    "a new version": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": "GET /v1/health\r\n\r\n",
    "another protocol": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "parents": f"GET /v1/../../../../etc/passwd HTTP/1.1\r\n{HEAD}\r\n",
    "a parent in a route": f"GET /v1/runs/../members HTTP/1.1\r\n{HEAD}\r\n",
    "encoded parents": f"GET /v1/artifacts/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1\r\n{HEAD}\r\n",
    "an address elsewhere": f"GET http://169.254.169.254/latest/meta-data/ HTTP/1.1\r\n{HEAD}\r\n",
    "everything": f"OPTIONS * HTTP/1.1\r\n{HEAD}\r\n",
    "a tunnel": f"CONNECT 127.0.0.1:5432 HTTP/1.1\r\n{HEAD}\r\n",
    "another upgrade": f"GET /v1/runs HTTP/1.1\r\n{HEAD}Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n\r\n",
    "a socket": f"GET /v1/runs HTTP/1.1\r\n{HEAD}"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "a host that is none": "GET /v1/health HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "two hosts": f"GET /v1/health HTTP/1.1\r\nHost: y\r\n{HEAD}\r\n",
    "a folded header": f"GET /v1/health HTTP/1.1\r\n{HEAD}X: a\r\n b\r\n\r\n",
    "a header of nothing": f"GET /v1/health HTTP/1.1\r\n{HEAD}: x\r\n\r\n",
    "a header with a nul": f"GET /v1/health HTTP/1.1\r\n{HEAD}X: a\x00b\r\n\r\n",
    "a header with a line": f"GET /v1/health HTTP/1.1\r\n{HEAD}X: a\rSet-Cookie: b\r\n\r\n",
    "a long header": f"GET /v1/health HTTP/1.1\r\n{HEAD}X: {'x' * 200_000}\r\n\r\n",
    "many headers": f"GET /v1/health HTTP/1.1\r\n{HEAD}{''.join(f'X{number}: y' + chr(13) + chr(10) for number in range(20_000))}\r\n",
    "a long line": f"GET /{'x' * 200_000} HTTP/1.1\r\n\r\n",
    "a negative length": f"POST /v1/runs HTTP/1.1\r\n{JSON}Content-Length: -1\r\n\r\n",
    "a length of words": f"POST /v1/runs HTTP/1.1\r\n{JSON}Content-Length: many\r\n\r\n",
    "two lengths": f"POST /v1/runs HTTP/1.1\r\n{JSON}Content-Length: 2\r\nContent-Length: 5\r\n\r\n{{}}",
    "a length that is far": f"POST /v1/runs HTTP/1.1\r\n{JSON}Content-Length: 99999999999999999999\r\n\r\n{{}}",
    "a length and pieces": f"POST /v1/runs HTTP/1.1\r\n{JSON}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    "GET /v1/members HTTP/1.1\r\n\r\n",
    "odd pieces": f"POST /v1/runs HTTP/1.1\r\n{JSON}Transfer-Encoding: xchunked, chunked\r\n\r\n0\r\n\r\n",
    "pieces of words": f"POST /v1/runs HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n",
    "negative pieces": f"POST /v1/runs HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n-1\r\n{{}}\r\n0\r\n\r\n",
    "a piece that is far": f"POST /v1/runs HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{{}}",
    "endless pieces": f"POST /v1/runs HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n" + f"8000\r\n{' ' * 0x8000}\r\n" * 60,
    "packed pieces": f"POST /v1/runs HTTP/1.1\r\n{JSON}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "less than it said": f"POST /v1/runs HTTP/1.1\r\n{JSON}Content-Length: 1000\r\n\r\n{{",
    "deep and wide": f"POST /v1/runs HTTP/1.1\r\n{JSON}Content-Length: 600001\r\n\r\n{deep_map(100_000).decode()}",
    "several at once": f"GET /v1/runs HTTP/1.1\r\n{HEAD}\r\n" * 50,
    "several of one key": f'POST /v1/workspaces HTTP/1.1\r\n{JSON}Idempotency-Key: k\r\nContent-Length: 12\r\n\r\n{{"name":"w"}}' * 10,
    "half a request": f"GET /v1/runs HTTP/1.1\r\n{HEAD}",
}


@asynccontextmanager
async def listening() -> AsyncGenerator[int]:
    async with api(json_limit_bytes=1024 * 1024) as served:
        made = server(served.app, "127.0.0.1", 0)
        made.config.lifespan = "off"
        serving = asyncio.create_task(made.serve())
        async with asyncio.timeout(30):
            while not made.started:
                await asyncio.sleep(0.01)  # nothing else tells of it
        try:
            yield int(made.servers[0].sockets[0].getsockname()[1])
        finally:
            made.should_exit = True
            await serving


async def said(port: int, text: str, patience: float = 0.1) -> bytes:
    """What is answered until it is quiet; it hangs up then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write(text.encode("latin-1"))
        await writer.drain()
        while True:
            async with asyncio.timeout(patience):
                piece = await reader.read(65536)
            if not piece:
                break
            found += piece
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return found


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with listening() as port:
        yield port


async def test_whatever_comes_through_a_socket_the_next_one_is_served(port: int) -> None:
    with structlog.testing.capture_logs() as logs:
        for name, text in RAW.items():
            found = await said(port, text)
            assert b"root:" not in found, name
            assert b"HTTP/1.1 5" not in found, f"{name}: {found[:300]!r}"
            good = await said(port, f"GET /v1/health HTTP/1.1\r\n{HEAD}Connection: close\r\n\r\n", patience=30)
            assert good.startswith(b"HTTP/1.1 200"), name
    assert [entry for entry in logs if entry["event"] == "request.failed"] == []
