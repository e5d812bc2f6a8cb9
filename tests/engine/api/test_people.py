"""Approvals and named artifacts over HTTP: who may answer, and what names mean."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from typing_extensions import override

from penstock.contracts.access import Role
from penstock.contracts.artifacts import inline
from penstock.contracts.bindings import Literal_
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.named_artifacts import unresolved
from penstock.contracts.spec import ParameterSpec, PipelineSpec, encode_spec
from penstock.engine.api.services import now
from tests.engine.api.people import client_with
from tests.engine.api.serving import Api, api
from tests.engine.cluster import PATIENCE_SECONDS, Cluster
from tests.engine.small_pipelines import APPROVED, ask, pipeline, register, step

ADA = "token:default-viewer"
FOR_ADA = pipeline(ask(approvers=(ADA,)), step("deploy", when=(APPROVED,)), result="ok")
TRAINED = pipeline(step("train", cache=False), register(), result="register-churn")
TAKES = PipelineSpec(name="takes", parameters=(ParameterSpec(name="model", type="float"),), nodes=(step("use"),))


class OnTime(Cluster):
    """A cluster whose clock is that of the API."""

    @override
    def _now(self) -> int:
        return now()


@asynccontextmanager
async def served(answer: object = 1) -> AsyncGenerator[Api]:
    """An API, and a coordinator on its store whose steps give that."""
    async with api() as made:
        engine = OnTime(made.store, made.bus, made.artifacts)
        engine.answer = lambda _: answer
        work = [asyncio.create_task(task) for task in (engine.coordinator.run(), engine.take_orders())]
        try:
            yield made
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


async def submit(at: Api, spec: PipelineSpec, run_id: str = "run1", **fields: Any) -> httpx.Response:
    plain = httpx.Response(200, content=encode_spec(spec)).json()
    return await at.http.post("/v1/runs", json={"run_id": run_id, "spec": plain, **fields})


async def asked(at: Api, run: str = "run1") -> dict[str, Any]:
    """What a run asks, once it does."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (found := await at.http.get(f"/v1/runs/{run}/approval")).status_code == 404:
            await asyncio.sleep(0.01)  # nothing else tells of it
    view: dict[str, Any] = found.json()
    return view


async def ended(at: Api, run: str = "run1") -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (view := (await at.http.get(f"/v1/runs/{run}")).json())["ended_at"] is None:
            await asyncio.sleep(0.01)  # as above
    assert view["state"] == "succeeded", view
    run_view: dict[str, Any] = view
    return run_view


async def test_those_whom_an_approval_names_answer_it_whatever_their_role() -> None:
    async with served() as at:
        await submit(at, FOR_ADA)
        view = await asked(at)
        assert (view["question"], view["approvers"], view["state"]) == ("Deploy?", [ADA], "open")
        ada, operator = await client_with(at, Role.VIEWER), await client_with(at, Role.OPERATOR)

        refused = await operator.post("/v1/runs/run1/approval", json={"approved": True})
        assert refused.status_code == 403
        assert f"is for {ADA} to decide" in refused.json()["detail"]
        taken = await ada.post("/v1/runs/last/approval?step=ok", json={"approved": True, "comment": "looks good"})

        assert (taken.status_code, taken.json()["state"], taken.json()["decided_by"]) == (200, "approved", ADA)
        result = (await ended(at))["outputs"]["result"]
        assert result == inline({"approved": True, "by": ADA, "comment": "looks good"}).model_dump(mode="json")


async def test_admins_may_always_answer_and_operators_where_nobody_is_named() -> None:
    async with served() as at:
        await submit(at, FOR_ADA)
        await submit(at, pipeline(ask(approvers=())), "run2")
        await asked(at)
        await asked(at, "run2")
        viewer, operator = await client_with(at, Role.VIEWER), await client_with(at, Role.OPERATOR)

        assert (await viewer.post("/v1/runs/run2/approval", json={"approved": True})).status_code == 403
        assert (await operator.post("/v1/runs/run2/approval", json={"approved": False})).status_code == 200
        assert (await at.http.post("/v1/runs/run1/approval", json={"approved": False})).status_code == 200
        await ended(at)
        assert (await at.http.get("/v1/approvals")).json()["approvals"] == []
        everything = (await at.http.get("/v1/approvals?state=all")).json()["approvals"]
        assert {(view["run_id"], view["state"]) for view in everything} == {("run1", "rejected"), ("run2", "rejected")}
        assert len((await at.http.get("/v1/approvals?state=all&run=run2")).json()["approvals"]) == 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/runs/run1/approval", {}, 422),
        ("/v1/runs/run1/approval", {"approved": "maybe"}, 422),
        ("/v1/runs/run1/approval", {"approved": True, "who": "me"}, 422),
        ("/v1/runs/run1/approval", {"approved": True, "comment": "x" * 3000}, 422),
        ("/v1/runs/run1/approval", {"approved": True, "comment": "\u0000"}, 422),
        ("/v1/runs/run1/approval?step=nowhere", {"approved": True}, 404),
        ("/v1/runs/run1/approval?step=ok&index=7", {"approved": True}, 404),
        ("/v1/runs/nowhere/approval", {"approved": True}, 404),
    ],
)
async def test_an_answer_that_can_not_be_taken_is_refused_and_the_question_stays(path: str, body: dict[str, Any], status: int) -> None:
    async with served() as at:
        await submit(at, FOR_ADA)
        await asked(at)

        assert (await at.http.post(path, json=body)).status_code == status
        assert (await asked(at))["state"] == "open"


async def test_a_run_takes_what_a_name_means_when_it_starts() -> None:
    async with served(answer=0.5) as at:
        await submit(at, TRAINED)
        await ended(at)

        taken = await submit(at, TAKES, "run2", parameters={"model": unresolved("churn@candidate").model_dump()})
        refused = await submit(at, TAKES, "run3", parameters={"model": unresolved("churm").model_dump()})

        assert taken.json()["resolved"] == {"artifact://churn@candidate": "artifact://churn@1"}
        assert taken.json()["parameters"]["model"] == inline(0.5).model_dump(mode="json")
        assert (refused.status_code, "did you mean 'churn'" in refused.json()["detail"]) == (422, True)


async def test_a_name_in_the_midst_of_a_pipeline_is_refused() -> None:
    async with served() as at:
        answer = await submit(at, pipeline(ask(Literal_(value=unresolved("churn")))))

        assert (answer.status_code, "is no artifact" in answer.json()["detail"]) == (422, True)


async def test_versions_are_listed_and_aliases_move() -> None:
    async with served() as at:
        await submit(at, TRAINED)
        await ended(at)
        operator, viewer = await client_with(at, Role.OPERATOR), await client_with(at, Role.VIEWER)

        moved = await operator.put("/v1/named-artifacts/churn/aliases/prod", json={"version": 1})
        assert (moved.status_code, moved.json()["aliases"]) == (200, ["candidate", "prod"])
        assert (await viewer.put("/v1/named-artifacts/churn/aliases/prod", json={"version": 1})).status_code == 403
        assert (await operator.put("/v1/named-artifacts/churn/aliases/prod", json={"version": 2})).status_code == 404
        assert (await operator.put("/v1/named-artifacts/churn/aliases/3", json={"version": 1})).status_code == 422

        (name,) = (await viewer.get("/v1/named-artifacts")).json()["artifacts"]
        assert (name["name"], name["newest"], name["aliases"]) == ("churn", 1, {"candidate": 1, "prod": 1})
        (version,) = (await viewer.get("/v1/named-artifacts/churn/versions")).json()["versions"]
        assert (version["run"], version["version"]) == ("small-1", 1)
        assert (await viewer.get("/v1/named-artifacts/churn/versions/prod")).json() == version
        assert (await viewer.get("/v1/named-artifacts/churm/versions")).status_code == 404

        assert (await operator.delete("/v1/named-artifacts/churn/aliases/prod")).status_code == 204
        assert (await operator.delete("/v1/named-artifacts/churn/aliases/prod")).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "version"),
    [
        ({"run": "run1", "step": "train", "alias": "best"}, 200, 1),
        ({"of": "churn@1"}, 200, 1),
        ({"run": "run1", "step": "register-churn"}, 201, 2),
        ({"run": "run1", "step": "train", "output": "nothing"}, 422, None),
        ({"run": "run1", "step": "train", "index": [3]}, 422, None),
        ({"run": "nowhere", "step": "train"}, 404, None),
        ({"of": "sha256:" + "0" * 64}, 422, None),
        ({"of": "nothing@1"}, 422, None),
        ({"of": "churn@1", "run": "run1", "step": "train"}, 422, None),
        ({}, 422, None),
    ],
)
async def test_a_version_by_hand(body: dict[str, Any], status: int, version: int | None) -> None:
    async with served() as at:
        await submit(at, TRAINED)
        await ended(at)

        answer = await at.http.post("/v1/named-artifacts/churn/versions", json=body)

        assert (answer.status_code, answer.json().get("version")) == (status, version), answer.text


async def test_stored_bytes_get_a_name_by_their_digest() -> None:
    async with served() as at:
        digest = await at.artifacts.write(b"weights")
        await at.http.put(f"/v1/artifacts/{digest}", content=b"weights")

        first = await at.http.post("/v1/named-artifacts/other/versions", json={"of": digest, "alias": "prod"})
        again = await at.http.post("/v1/named-artifacts/other/versions", json={"of": digest})

        assert (first.status_code, again.status_code) == (201, 200)
        assert (first.json()["digest"], first.json()["aliases"], first.json()["made_by"]) == (digest, ["prod"], "bootstrap")


async def test_questions_and_versions_come_in_pages() -> None:
    async with served() as at:
        for number in range(3):
            await submit(at, pipeline(ask()), f"run{number}")
            await asked(at, f"run{number}")
        for data in (b"1", b"2", b"3"):
            assert (await at.http.put(f"/v1/artifacts/{digest_bytes(data)}", content=data)).is_success
            assert (await at.http.post("/v1/named-artifacts/churn/versions", json={"of": digest_bytes(data)})).is_success
        questions = [view["run_id"] async for view in pages(at, "/v1/approvals", "approvals")]
        everything = [view["run_id"] async for view in pages(at, "/v1/approvals", "approvals", state="all")]
        versions = [view["version"] async for view in pages(at, "/v1/named-artifacts/churn/versions", "versions")]

    assert questions == ["run0", "run1", "run2"]
    assert everything == ["run2", "run1", "run0"]
    assert versions == [3, 2, 1]


async def pages(at: Api, path: str, name: str, **query: str) -> AsyncGenerator[dict[str, Any]]:
    """What a list holds, asked for two at a time."""
    given = query
    while True:
        answer = (await at.http.get(path, params={"limit": "2", **given})).json()
        assert len(answer[name]) <= 2
        for view in answer[name]:
            yield view
        if answer["next"] is None:
            return
        given = {**query, "cursor": answer["next"]}
