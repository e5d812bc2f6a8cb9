"""Requests that must not pass: without a token, too large, malformed, from elsewhere. Each is answered as a problem, none with data."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from penstock.contracts.artifacts import inline
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import SPEC_VERSION
from penstock.deploy.services.api import check_address, server
from penstock.engine.api.settings import ApiSettings
from penstock.transport.bus import Envelope, Exchange
from tests.engine.api.serving import TOKEN, api, plain, routes

DIGEST = digest_bytes(b"x")
SECRET = "hunter2-hunter2-hunter2"
ROUTES = [*routes(), ("GET", "/v1/openapi.json"), ("GET", "/no/such/route")]


def problem(response: httpx.Response, status: int) -> str:
    """What the problem says."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    return str(body["detail"])


@pytest.mark.parametrize("given", [None, "Bearer wrong-token-0123456789", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"])
async def test_nothing_is_answered_without_the_token(given: str | None) -> None:
    async with api() as served:
        for method, path in ROUTES:
            headers = [(b"Authorization", given.encode("latin-1"))] if given is not None else []
            answer = await served.bare.request(method, path, headers=headers)
            assert "token" in problem(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_token_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"fewer than 16 characters.*secrets"):
        ApiSettings(token="penstock")
    assert TOKEN not in repr(ApiSettings(token=TOKEN))


EVERYWHERE = "0.0.0.0"  # noqa: S104 - it is refused


@pytest.mark.parametrize(
    "host", [EVERYWHERE, "::", "", "192.0.2.7", "penstock.example.org", "localhost.example.org", "127.0.0.1.example.org"]
)
async def test_without_a_token_it_listens_nowhere_but_on_loopback(host: str) -> None:
    with pytest.raises(InvalidInput, match="PENSTOCK_API_TOKEN"):
        check_address(host, None)
    check_address(host, TOKEN)
    async with api(token=None) as served:
        with pytest.raises(InvalidInput, match="loopback"):
            server(served.app, host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_needs_no_token(host: str) -> None:
    check_address(host, None)


async def test_without_a_token_web_pages_can_not_reach_it() -> None:
    async with api(token=None) as served:
        assert (await served.bare.get("/v1/runs")).status_code == 200
        assert "token" in problem(await served.bare.get("/v1/runs", headers={"Host": "evil.example.org:80"}), 403)
        assert "web page" in problem(await served.bare.get("/v1/runs", headers={"Origin": "http://evil.example.org"}), 403)
        form = await served.bare.post("/v1/runs", content=b"{}", headers={"Content-Type": "text/plain"})
        assert "application/json" in problem(form, 415)


async def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    async with api(json_limit_bytes=1000, upload_limit_bytes=2000) as served:
        read = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal read
            while True:
                read += 500
                yield b" " * 500

        known = await served.http.post("/v1/runs", content=b" " * 1001, headers={"Content-Type": "application/json"})
        assert "over 1000 bytes" in problem(known, 413)
        told = await served.bare.post("/v1/runs", content=b" " * 1001, headers={"Content-Type": "application/json"})
        assert told.status_code == 413
        endless = await served.http.post("/v1/runs", content=body(), headers={"Content-Type": "application/json"})
        assert "over 1000 bytes" in problem(endless, 413)
        assert read <= 2000
        upload = await served.http.put(f"/v1/artifacts/{DIGEST}", content=body())
        assert "over 2000 bytes" in problem(upload, 413)
        assert list(served.artifacts.staging.iterdir()) == []
        for length in ("-1", "1e3", "9" * 30):
            odd = await served.http.post("/v1/runs", headers={"Content-Length": length})
            assert odd.status_code == 413


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"\xff\xfe", "JSON"),
        (b'{"run_id": "a", "spec": {}, "speck": 1}', "speck"),
        (b'{"run_id": "../../etc/passwd", "spec": {}}', "run_id"),
        (b'{"run_id": "a/b", "spec": {}}', "run_id"),
        (b'{"run_id": "a"}', "spec"),
        (b'{"run_id": "a", "spec": {}}', "not a pipeline spec"),
        (b'{"run_id": "a", "spec": {"name": "flow", "x": NaN}}', "NaN"),
        (b'{"run_id": "a", "spec": {"name": ' + b"[" * 100_000, "JSON"),
        (b'{"run_id": "a", "spec": {}, "parameters": {"x": {"uri": 5}}}', "parameters"),
    ],
)
async def test_a_body_that_is_malformed_is_told_where(body: bytes, told: str) -> None:
    async with api() as served:
        answer = await served.http.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})

        assert told.lower() in problem(answer, 422).lower()
        assert (await served.http.get("/v1/runs")).json()["runs"] == []


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"spec": plain() | {"spec": SPEC_VERSION + 1}}, 409, "version"),
        ({"parameters": {"y": inline(1).model_dump()}}, 422, "no parameter 'y'"),
        ({"options": {"until": "last"}}, 422, "no step 'last'"),
        ({"name": "../x"}, 422, "named"),
        ({"name": "last"}, 422, "named"),
        ({"name": "x" * 300}, 422, "name"),
        ({"parameters": {"x": {"uri": "file:///etc/passwd", "digest": DIGEST, "size": 1}}}, 422, "upload"),
        ({"parameters": {"x": {"uri": "http://169.254.169.254/", "digest": DIGEST, "size": 1}}}, 422, "upload"),
        ({"parameters": {"x": {"uri": f"cas:{DIGEST}", "digest": "sha256:../../x", "size": 1}}}, 422, "upload"),
        ({"parameters": {"x": {"uri": f"cas:{DIGEST}", "digest": DIGEST, "size": 1}}}, 422, "not in the artifact store"),
        ({"parameters": {"x": inline(1).model_dump() | {"digest": DIGEST}}}, 422, "don't match"),
        ({"options": {"pinned_from": "no-such-run"}}, 422, "no run"),
        ({"options": {"pinned_from": "a\0b"}}, 422, "no run"),
        ({"options": {"pools": {"first": "a\0b"}}}, 422, "the pool of 'first'"),
        ({"options": {"pools": {"first": "*.#"}}}, 422, "the pool of 'first'"),
    ],
)
async def test_a_submission_that_can_not_become_a_run_is_refused_at_once(change: dict[str, Any], status: int, told: str) -> None:
    async with api() as served:
        answer = await served.submit(**change)

        assert told in problem(answer, status)
        assert (await served.http.get("/v1/runs")).json()["runs"] == []


@pytest.mark.parametrize("run", ["nobody", "%2e%2e", "..%2f..%2fetc", "a%00b", "x" * 5000, "%ff", "' OR 1=1 --", "%"])
async def test_a_run_that_does_not_exist_is_not_found(run: str) -> None:
    async with api() as served:
        await served.submit(tags={"secret": SECRET})
        for method, path in [("GET", ""), ("GET", "/steps"), ("GET", "/spec"), ("POST", "/resume"), ("DELETE", "")]:
            answer = await served.http.request(method, f"/v1/runs/{run}{path}")
            assert answer.status_code in (404, 422), answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert SECRET not in answer.text


@pytest.mark.parametrize("digest", ["sha256:..", "..%2f..%2fetc%2fpasswd", "sha256:" + "A" * 64, "md5:" + "0" * 32, "sha256:" + "0" * 65])
async def test_a_digest_that_is_none_names_no_file(digest: str) -> None:
    async with api() as served:
        for answer in (await served.http.get(f"/v1/artifacts/{digest}"), await served.http.put(f"/v1/artifacts/{digest}", content=b"x")):
            assert answer.status_code in (404, 422)
        missing = await served.http.post("/v1/missing-artifacts", json={"digests": [digest]})
        assert "digests" in problem(missing, 422)
        assert served.artifacts.blobs == {}


async def test_bytes_under_another_digest_are_not_kept() -> None:
    async with api() as served:
        assert "digest" in problem(await served.http.put(f"/v1/artifacts/{DIGEST}", content=b"y"), 422)
        assert served.artifacts.blobs == {}
        assert list(served.artifacts.staging.iterdir()) == []


async def test_a_client_of_another_contract_is_told_of_both_versions() -> None:
    async with api() as served:
        answer = await served.http.get("/v1/runs", headers={"Penstock-Contract": "2", "Penstock-Version": "9.9.9"})

    told = problem(answer, 409)
    assert "9.9.9" in told
    assert answer.headers["Penstock-Version"] in told
    assert "same version" in told


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "limit=99999999999999999999", "limit=1&pipeline=%00"])
async def test_numbers_in_a_query_have_bounds(query: str) -> None:
    async with api() as served:
        assert "query" in problem(await served.http.get(f"/v1/runs?{query}"), 422)


async def test_what_nobody_foresaw_is_answered_with_a_number_and_no_more() -> None:
    async with api() as served:
        await served.store.close()

        async def broken(function: object) -> object:
            raise RuntimeError(SECRET)

        object.__setattr__(served.app.state.services, "store", type("Broken", (), {"read": staticmethod(broken)})())
        answer = await served.http.get("/v1/runs")

        assert "internal error, number" in problem(answer, 500)
        assert SECRET not in answer.text


async def test_malformed_messages_on_the_bus_do_not_stop_it() -> None:
    async with api() as served:
        await asyncio.sleep(0)
        for body in (b"", b"\xc1", json.dumps({"type": "heartbeat"}).encode()):
            await served.bus.publish(Envelope(exchange=Exchange.VITALS, body=body))

        assert (await served.http.get("/v1/runners")).json() == {"runners": []}
