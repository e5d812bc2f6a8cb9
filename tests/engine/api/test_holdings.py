"""Artifacts of workspaces that share a store: a digest that is known opens nothing, alone, in a list, or through a run."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from penstock.contracts.access import Role
from penstock.contracts.artifacts import DIRECTORY, ArtifactRef, DirectoryManifest, ListManifest, inline, manifest_bytes
from penstock.contracts.encoding import digest_bytes
from penstock.engine import tables
from penstock.engine.access.holdings import hold
from penstock.engine.statement import Statement
from tests.engine.api.people import client_with
from tests.engine.api.serving import Api, api, plain

SECRET = b"what the other workspace computed"
THEIRS = digest_bytes(SECRET)


@pytest.fixture
async def served() -> AsyncIterator[Api]:
    async with api() as made:
        for name in ("ours", "theirs"):
            await made.http.post("/v1/workspaces", json={"name": name})
        yield made


@pytest.fixture
async def ours(served: Api) -> httpx.AsyncClient:
    """An admin of a workspace, where another has an artifact."""
    other = await client_with(served, Role.AUTHOR, workspace="theirs")
    await put(other, SECRET)
    return await client_with(served, Role.ADMIN, workspace="ours")


async def put(client: httpx.AsyncClient, data: bytes) -> str:
    digest = digest_bytes(data)
    assert (await client.put(f"/v1/artifacts/{digest}", content=data)).status_code == 204
    return digest


def ref(data: bytes, kind: str = "blob") -> dict[str, Any]:
    digest = digest_bytes(data)
    return {"uri": f"cas:{digest}", "digest": digest, "size": len(data), "kind": kind}


def directory(*digests: str) -> bytes:
    files = [{"path": f"f{number}", "digest": digest, "size": 1} for number, digest in enumerate(digests)]
    return manifest_bytes(DirectoryManifest.model_validate({"files": files}))


async def submit(client: httpx.AsyncClient, value: object) -> httpx.Response:
    return await client.post("/v1/runs", json={"run_id": "run1", "spec": plain(), "parameters": {"x": value}})


async def test_what_a_workspace_uploads_it_reads(served: Api, ours: httpx.AsyncClient) -> None:
    digest = await put(ours, b"ours")

    assert (await ours.get(f"/v1/artifacts/{digest}")).content == b"ours"
    assert (await submit(ours, ref(b"ours"))).status_code == 201


async def test_whether_another_workspace_has_something_is_not_told(ours: httpx.AsyncClient) -> None:
    nobodys = digest_bytes(b"nobody's")

    missing = await ours.post("/v1/missing-artifacts", json={"digests": [THEIRS, nobodys]})
    answers = [await ours.get(f"/v1/artifacts/{digest}") for digest in (THEIRS, nobodys)]

    assert missing.json() == {"missing": sorted([THEIRS, nobodys])}
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text.replace(THEIRS, "") == answers[1].text.replace(nobodys, "")


async def test_who_shows_that_they_have_the_bytes_reads_them(ours: httpx.AsyncClient) -> None:
    await put(ours, SECRET)

    assert (await ours.get(f"/v1/artifacts/{THEIRS}")).content == SECRET


async def test_a_run_reads_nothing_of_another_workspace(ours: httpx.AsyncClient) -> None:
    listing = directory(THEIRS)
    of_lists = manifest_bytes(ListManifest(items=(ArtifactRef.model_validate(ref(listing, "directory")),)))
    both = b'{"files":[],"items":' + of_lists.split(b'"items":')[1]
    for data in (listing, of_lists, both):
        await put(ours, data)
    in_itself = inline(json.loads(listing)).model_dump() | {"kind": "directory", "media_type": DIRECTORY}

    values = (ref(SECRET), {"list": [ref(SECRET)]}, ref(listing, "directory"), ref(of_lists, "list"), ref(both, "list"), in_itself)
    for value in values:
        answer = await submit(ours, value)
        assert answer.status_code == 422, value
        assert "not in the artifact store" in answer.json()["detail"]
    assert (await ours.get("/v1/runs")).json()["runs"] == []
    assert (await ours.get(f"/v1/artifacts/{digest_bytes(listing)}")).status_code == 200
    assert (await ours.get(f"/v1/artifacts/{THEIRS}")).status_code == 404


async def test_a_list_of_what_the_workspace_has_may_be_read_by_a_run(ours: httpx.AsyncClient) -> None:
    listing = directory(await put(ours, b"a"), await put(ours, b"b"))
    await put(ours, listing)

    assert (await submit(ours, ref(listing, "directory"))).status_code == 201


async def test_the_files_of_a_directory_that_a_run_made_can_be_read(served: Api, ours: httpx.AsyncClient) -> None:
    viewer = await client_with(served, Role.VIEWER, workspace="ours")
    file = await served.artifacts.write(b"made by a step")
    made = await served.artifacts.write(directory(file))
    assert (await viewer.get(f"/v1/artifacts/{file}")).status_code == 404
    await served.store.transaction(lambda connection: hold(connection, "ours", {made: ("directory", 1)}, 0))

    assert (await viewer.get(f"/v1/artifacts/{made}")).status_code == 200
    assert (await viewer.get(f"/v1/artifacts/{file}")).content == b"made by a step"


async def test_what_was_uploaded_is_no_artifact_of_a_run_before_one_uses_it(served: Api, ours: httpx.AsyncClient) -> None:
    await put(ours, b"ours")

    stats = (await ours.get("/v1/cache")).json()
    count = Statement(f"SELECT count(*) FROM {tables.artifact.name} WHERE workspace = :workspace")  # noqa: S608 - a constant

    assert stats["artifacts"] == 0
    assert await served.store.read(lambda connection: count.number(connection, workspace="ours")) == 1


async def test_an_admin_of_all_workspaces_reads_what_is_there(served: Api, ours: httpx.AsyncClient) -> None:
    assert (await served.http.get(f"/v1/artifacts/{THEIRS}")).content == SECRET
    assert (await served.http.post("/v1/missing-artifacts", json={"digests": [THEIRS]})).json() == {"missing": []}
