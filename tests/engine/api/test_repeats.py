"""Requests that are sent again under an `Idempotency-Key`: answered again, never done twice; in memory and on a database."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from penstock.contracts.access import Role
from penstock.engine.access import kept_answers
from penstock.engine.access.kept_answers import BUSY_MICROSECONDS, KEPT_MICROSECONDS, Asked, begin, forget_answers
from penstock.engine.statement import Statement
from tests.engine.api.people import client_with, new_token
from tests.engine.api.serving import Api, api, plain

pytestmark = pytest.mark.usefixtures("each_store")
_count = Statement("SELECT count(*) FROM kept_answer")


@pytest.fixture
async def served(each_store: None) -> AsyncIterator[Api]:
    async with api() as made:
        yield made


async def ask(client: httpx.AsyncClient, key: str, run_id: str = "run1", path: str = "/v1/runs") -> httpx.Response:
    return await client.post(path, json={"run_id": run_id, "spec": plain()}, headers={"Idempotency-Key": key})


async def test_the_same_request_again_is_given_the_same_answer(served: Api) -> None:
    first = await ask(served.http, "k1")
    await served.http.delete("/v1/runs/run1")
    again = await ask(served.http, "k1")

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["content-type"] == "application/json"
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    assert again.headers["Penstock-Version"] == first.headers["Penstock-Version"]


async def test_a_key_stands_for_one_request_of_one_principal(served: Api) -> None:
    await ask(served.http, "k1")

    for other in (await ask(served.http, "k1", "run2"), await ask(served.http, "k1", path="/v1/runs?x=1")):
        assert other.status_code == 422
        assert "another request" in other.json()["detail"]
    author = await client_with(served, Role.AUTHOR)
    assert (await ask(author, "k1", "run2")).status_code == 201
    assert [run["run_id"] for run in (await served.http.get("/v1/runs")).json()["runs"]] == ["run2", "run1"]


async def test_of_many_at_once_one_is_done(served: Api) -> None:
    answers = await asyncio.gather(
        *(served.http.post("/v1/workspaces", json={"name": "w"}, headers={"Idempotency-Key": "k1"}) for _ in range(20))
    )

    told = sorted({answer.status_code for answer in answers})
    assert told in ([201], [201, 409])
    assert len([answer for answer in answers if answer.status_code == 201 and "Idempotent-Replayed" not in answer.headers]) == 1


async def test_what_was_refused_may_be_asked_again_otherwise(served: Api) -> None:
    refused = await served.http.post("/v1/runs", json={"run_id": "run1"}, headers={"Idempotency-Key": "k1"})

    assert refused.status_code == 422
    assert (await ask(served.http, "k1")).status_code == 201


async def test_who_died_at_it_leaves_it_to_the_next_one_after_a_while(served: Api) -> None:
    def at(moment: int) -> Asked:
        return Asked(workspace="default", principal="p", key="k", digest="d", at=moment)

    assert await served.store.transaction(lambda connection: begin(connection, at(0))) is None
    with pytest.raises(kept_answers.StillBusy):
        await served.store.transaction(lambda connection: begin(connection, at(BUSY_MICROSECONDS - 1)))
    assert await served.store.transaction(lambda connection: begin(connection, at(BUSY_MICROSECONDS))) is None
    with pytest.raises(kept_answers.StillBusy):
        await served.store.transaction(lambda connection: begin(connection, at(BUSY_MICROSECONDS + 1)))


async def test_a_failure_nobody_foresaw_keeps_no_key_busy(served: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    @served.app.post("/v1/runs/{run}/cancel", operation_id="broken")
    async def broken(run: str) -> None:
        raise RuntimeError(run)

    # It stands before the one that is meant.
    served.app.router.routes.insert(0, served.app.router.routes.pop())
    assert (await served.http.post("/v1/runs/x/cancel", json={}, headers={"Idempotency-Key": "k1"})).status_code == 500
    assert await served.store.read(lambda connection: _count.number(connection)) == 0


async def test_a_secret_that_is_told_once_is_kept_nowhere(served: Api) -> None:
    body = {"name": "ci", "role": "viewer"}
    made = await served.http.post("/v1/tokens", json=body, headers={"Idempotency-Key": "k1"})
    again = await served.http.post("/v1/tokens", json=body, headers={"Idempotency-Key": "k1"})

    assert (made.status_code, again.status_code) == (201, 422)
    assert await served.store.read(lambda connection: _count.number(connection)) == 0


async def test_a_key_opens_nothing_that_its_owner_may_not_do_any_more(served: Api) -> None:
    author = await client_with(served, Role.AUTHOR)
    assert (await ask(author, "k1")).status_code == 201
    token = (await served.http.get("/v1/tokens")).json()["tokens"][0]
    await served.http.delete(f"/v1/tokens/{token['token_id']}")

    assert (await ask(author, "k1")).status_code == 401
    await new_token(served, token["name"], Role.VIEWER)


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "\xe9", "a\tb"])
async def test_a_key_that_can_not_be_one_is_refused(served: Api, key: str) -> None:
    answer = await served.http.post("/v1/workspaces", json={"name": "w"}, headers=[(b"Idempotency-Key", key.encode("latin-1"))])

    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]


async def test_old_answers_are_forgotten(served: Api) -> None:
    await ask(served.http, "k1")
    now = time.time_ns() // 1000

    assert await served.store.transaction(lambda connection: forget_answers(connection, now - KEPT_MICROSECONDS)) == 0
    assert await served.store.transaction(lambda connection: forget_answers(connection, now)) == 1


async def test_who_has_which_role_is_the_same_on_every_store(served: Api) -> None:
    """Tokens, members and the audit log, on a database too."""
    await served.http.post("/v1/workspaces", json={"name": "w"})
    await served.http.put("/v1/members/alice", json={"role": "author"})
    await served.http.put("/v1/members/alice", json={"role": "viewer"})
    operator = await client_with(served, Role.OPERATOR)
    assert [(one["subject"], one["role"]) for one in (await operator.get("/v1/members")).json()["members"]] == [("alice", "viewer")]
    await asyncio.gather(*(operator.post("/v1/runs/nobody/resume") for _ in range(20)))
    assert (await served.http.delete("/v1/members/alice")).status_code == 204

    entries = (await served.http.get("/v1/audit?limit=1000")).json()["entries"]
    assert [one["number"] for one in entries] == list(range(len(entries), 0, -1))
    assert len(entries) == 25
