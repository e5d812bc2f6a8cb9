"""Links to artifacts: read by whoever has one, for a while, and good for nothing else."""

from collections.abc import AsyncGenerator

import pytest

from penstock.contracts.access import Role
from penstock.contracts.encoding import digest_bytes
from penstock.engine.api.links import Link, opened, signed
from tests.engine.api.people import client_with
from tests.engine.api.serving import Api, api

KEY = b"0123456789abcdef0123456789abcdef"
DATA = b"a model"
DIGEST = digest_bytes(DATA)
OTHER = digest_bytes(b"another")


@pytest.fixture
async def served() -> AsyncGenerator[Api]:
    async with api(signing_key=KEY) as made:
        for data in (DATA, b"another"):
            assert (await made.http.put(f"/v1/artifacts/{digest_bytes(data)}", content=data)).is_success
        yield made


async def link(served: Api) -> str:
    answer = await served.http.post(f"/v1/artifacts/{DIGEST}/link", json={"seconds": 60})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["url"])


async def test_whoever_has_the_link_reads_the_artifact_without_a_token(served: Api) -> None:
    answer = await served.bare.get(await link(served))

    assert (answer.status_code, answer.content) == (200, DATA)


async def test_it_is_good_for_nothing_else(served: Api) -> None:
    url = await link(served)
    query = url.partition("?")[2]

    for method, path in [
        ("GET", f"/v1/artifacts/{OTHER}"),
        ("PUT", f"/v1/artifacts/{DIGEST}"),
        ("GET", f"/v1/artifacts/{DIGEST}/lineage"),
        ("GET", "/v1/runs"),
        ("GET", "/v1/me"),
    ]:
        answer = await served.bare.request(method, f"{path}?{query}")
        assert answer.status_code == 401, f"{method} {path}"
    assert (await served.bare.get(f"{url}&workspace=other")).status_code == 404
    assert (await served.bare.get(f"{url[:-2]}AA")).status_code == 401
    assert (await served.bare.get(f"/v1/artifacts/{DIGEST}?link=")).status_code == 401
    assert (await served.bare.get(f"/v1/artifacts/{DIGEST}?link=%ff.%00")).status_code in (401, 422)


async def test_a_token_that_is_shown_beside_a_link_is_the_one_that_counts(served: Api) -> None:
    url = await link(served)
    served.bare.headers["Authorization"] = "Bearer wrong-token-0123456789"

    assert (await served.bare.get(url)).status_code == 401


async def test_nobody_makes_a_link_to_what_they_may_not_read(served: Api) -> None:
    await served.http.post("/v1/workspaces", json={"name": "other"})
    stranger = await client_with(served, Role.ADMIN, workspace="other")

    assert (await stranger.post(f"/v1/artifacts/{DIGEST}/link", json={})).status_code == 404
    assert (await served.bare.post(f"/v1/artifacts/{DIGEST}/link", json={})).status_code == 401


async def test_a_link_ends(served: Api) -> None:
    text = signed(Link("default", DIGEST, 1_000_000), KEY)

    assert opened(text, DIGEST, KEY, 999_999) is not None
    assert opened(text, DIGEST, KEY, 1_000_000) is None
    assert opened(text, DIGEST, b"another key, of other services..", 0) is None
    assert (await served.bare.get(f"/v1/artifacts/{DIGEST}?link={text}")).status_code == 401


async def test_without_a_signing_key_there_are_no_links() -> None:
    async with api() as served:
        await served.http.put(f"/v1/artifacts/{DIGEST}", content=DATA)
        answer = await served.http.post(f"/v1/artifacts/{DIGEST}/link", json={})
        text = signed(Link("default", DIGEST, 2**62), KEY)

        assert "PENSTOCK_SIGNING_KEY" in answer.json()["detail"]
        assert (await served.bare.get(f"/v1/artifacts/{DIGEST}?link={text}")).status_code == 401
