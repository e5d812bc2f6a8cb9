"""Nobody becomes more than they are: not by a role elsewhere, by tokens that outlive it, by what they are called, or by odd requests."""

from collections.abc import Iterator

import pytest

from penstock.contracts.access import Role
from penstock.contracts.encoding import digest_bytes
from tests.engine.api.people import client_with, new_token
from tests.engine.api.serving import api
from tests.security.logins import Door, with_login
from tests.servers.oidc import Provider, oidc_provider


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with oidc_provider() as made:
        yield made


async def member(door: Door, subject: str, role: str, query: str = "") -> None:
    await door.as_admin("PUT", f"/members/{subject}{query}", json={"role": role})


async def test_who_looks_everywhere_and_is_admin_of_one_workspace_is_not_admin_of_all(provider: Provider) -> None:
    async with with_login(provider) as door:
        await door.as_admin("POST", "/workspaces", json={"name": "other"})
        await member(door, "alice", "viewer", "?everywhere=true")
        await member(door, "alice", "admin")
        alice = provider.token()

        assert (await door.asked(alice, "PUT", "/members/alice?everywhere=true", json={"role": "admin"})).status_code == 403
        assert (await door.asked(alice, "DELETE", "/members/alice?everywhere=true")).status_code == 403
        assert (await door.asked(alice, "POST", "/workspaces", json={"name": "mine"})).status_code == 403
        there = {"Penstock-Workspace": "other"}
        assert (await door.asked(alice, "PUT", "/members/alice", json={"role": "admin"}, headers=there)).status_code == 403
        me = (await door.asked(alice, "GET", "/me")).json()
        assert [(one["name"], one["role"]) for one in me["workspaces"]] == [("default", "admin"), ("other", "viewer")]


async def test_tokens_of_an_admin_of_all_end_with_that(provider: Provider) -> None:
    async with with_login(provider) as door:
        await door.as_admin("POST", "/workspaces", json={"name": "other"})
        await member(door, "alice", "admin", "?everywhere=true")
        await member(door, "alice", "operator")
        made = {
            (workspace, role): (
                await door.asked(
                    provider.token(),
                    "POST",
                    "/tokens",
                    json={"name": f"{workspace}-{role}", "role": role},
                    headers={"Penstock-Workspace": workspace},
                )
            ).json()["token"]
            for workspace in ("default", "other")
            for role in ("operator", "admin")
        }

        async def good() -> set[tuple[str, str]]:
            return {place for place, token in made.items() if (await door.asked(token, "GET", "/runs")).status_code == 200}

        assert await good() == set(made)
        await member(door, "alice", "operator", "?everywhere=true")
        assert await good() == {("default", "operator"), ("other", "operator")}
        await door.as_admin("DELETE", "/members/alice?everywhere=true")
        assert await good() == {("default", "operator")}
        await door.as_admin("DELETE", "/members/alice")
        assert await good() == set()


@pytest.mark.parametrize("name", ["bootstrap", "local", "token:ci", "group:group:x", "group:local", "group:token:x"])
async def test_nobody_is_called_as_something_else_is(name: str) -> None:
    async with api() as served:
        assert (await served.http.put(f"/v1/members/{name}", json={"role": "admin"})).status_code == 422


ASKED_FOR = {
    "more": {"role": "admin"},
    "more by name": {"role": "ADMIN"},
    "as another": {"role": "viewer", "owner": "bootstrap"},
    "elsewhere": {"role": "viewer", "workspace": "*"},
    "scope of nothing": {"role": "viewer", "scopes": ["*"]},
    "scope of all": {"role": "viewer", "scopes": ["runs", "access:write"]},
    "for ever": {"role": "viewer", "days": 1e308},
    "since ever": {"role": "viewer", "days": -1},
    "not a number": {"role": "viewer", "days": "NaN"},
    "a token for a name": {"role": "viewer", "name": "pst_abc"},
    "a line for a name": {"role": "viewer", "name": "ci\nbootstrap"},
    "a group for a name": {"role": "viewer", "name": "ci:group"},
    "chosen by hand": {"role": "viewer", "token": "pst_x"},
}


@pytest.mark.parametrize("asked", ASKED_FOR.values(), ids=ASKED_FOR)
async def test_an_author_gets_no_token_that_does_more(provider: Provider, asked: dict[str, object]) -> None:
    async with with_login(provider) as door:
        await member(door, "alice", "author")
        answer = await door.asked(provider.token(), "POST", "/tokens", json={"name": "mine", **asked})

        assert answer.status_code in (403, 422), answer.text
        assert (await door.as_admin("GET", "/tokens")).json()["tokens"] == []


async def test_a_token_ends_no_token_of_others_and_is_told_of_none() -> None:
    async with api() as served:
        other = await new_token(served, "other", Role.AUTHOR)
        author = await client_with(served, Role.AUTHOR)

        assert (await author.delete(f"/v1/tokens/{other['token_id']}")).status_code == 404
        assert (await author.get("/v1/tokens")).json()["tokens"] == []


SMUGGLED = [
    "/v1/members/%2e%2e",
    "/v1/tokens/..%2f..%2fmembers",
    "/v1//members",
    "/v1/members/",
    "/V1/members",
    "/v1/%2e/members",
    "/v1/members;x=1",
    "/v1/members%00",
    "/v1/members%20",
    "/v1/members.json",
    "//v1/members",
    "/v1/members%2f",
    "/v1\\members",
]


@pytest.mark.parametrize("path", SMUGGLED)
async def test_an_odd_address_leads_past_no_permission(path: str) -> None:
    async with api() as served:
        await served.http.put("/v1/members/eve", json={"role": "viewer"})
        viewer = await client_with(served, Role.VIEWER)

        for method in ("GET", "PUT", "DELETE", "POST", "PATCH", "TRACE", "CONNECT", "HEAD", "OPTIONS", "GET\x00"):
            for headers in ({}, {"X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/v1/members/eve", "X-Forwarded-For": "127.0.0.1"}):
                answer = await viewer.request(method, path, headers=headers)
                assert answer.status_code in (401, 403, 404, 405, 422), answer.text
                assert "eve" not in answer.text
        assert len((await served.http.get("/v1/members")).json()["members"]) == 1


@pytest.mark.parametrize(
    "path", ["/v1/named-artifacts/artifacts/aliases/prod", "/v1/pipelines/artifacts/default", "/v1/events/mappings/artifacts"]
)
async def test_a_name_makes_no_body_an_upload(path: str) -> None:
    """Uploads are streamed, and may be large; what else is read is held in memory."""
    async with api(json_limit_bytes=1000, upload_limit_bytes=10**9) as served:
        answer = await served.http.put(path, content=b" " * 1001, headers={"Content-Type": "application/json"})

        assert answer.status_code == 413


async def test_the_audit_log_tells_addresses_as_they_were() -> None:
    async with api() as served:
        for subject in ("a?b", "a#b", "a;b"):
            await served.http.request(
                "DELETE", f"/v1/members/{subject.replace('?', '%3F').replace('#', '%23')}", headers={"Host": "x/v1/y?"}
            )
        await served.http.delete("/v1/runs/a%0Ab", headers={"Host": "[", "X-Forwarded-Host": "evil"})

        told = [entry["subject"] for entry in (await served.http.get("/v1/audit")).json()["entries"]]
        assert told == ["/v1/runs/a\nb", "/v1/members/a;b", "/v1/members/a#b", "/v1/members/a?b"]


async def test_a_key_stands_for_one_request_of_one_caller() -> None:
    async with api() as served:
        await served.http.post("/v1/workspaces", json={"name": "other"})
        key = {"Idempotency-Key": "k"}
        first = await served.http.post("/v1/named-artifacts/a/versions", json={"of": digest_bytes(b"x")}, headers=key)
        assert first.status_code == 422
        await served.http.put(f"/v1/artifacts/{digest_bytes(b'x')}", content=b"x")
        made = await served.http.post("/v1/named-artifacts/a/versions", json={"of": digest_bytes(b"x")}, headers=key)
        assert made.status_code == 201

        for client in (await client_with(served, Role.ADMIN), await client_with(served, Role.ADMIN, workspace="other")):
            answer = await client.post("/v1/named-artifacts/a/versions", json={"of": digest_bytes(b"y")}, headers=key)
            assert answer.status_code == 422
            assert "another request" not in answer.text
        for path in ("/v1/named-artifacts/b/versions", "/v1/named-artifacts/a/versions?x=1"):
            again = await served.http.post(path, json={"of": digest_bytes(b"x")}, headers=key)
            assert (again.status_code, "another request" in again.text) == (422, True)


@pytest.mark.parametrize("key", ["", " ", "a b", "\xe9", "k" * 256, "k\t", "k" * 20_000])
async def test_a_key_that_is_none_is_refused(key: str) -> None:
    async with api() as served:
        answer = await served.http.post("/v1/workspaces", json={"name": "w"}, headers=[(b"Idempotency-Key", key.encode("latin-1"))])

        assert answer.status_code == 422
        assert [one["name"] for one in (await served.http.get("/v1/workspaces")).json()["workspaces"]] == ["default"]
