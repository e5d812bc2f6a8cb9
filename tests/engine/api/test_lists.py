"""Lists over HTTP: filters, pages, timelines, metrics, lineage; and what is streamed."""

import asyncio
from typing import Any

import pytest

from penstock.contracts.messages import Cause
from penstock.engine.stores.sqlite import MemoryStore
from tests.engine.api.serving import Api, api


async def made(serving: Api, count: int) -> None:
    for number in range(count):
        tags = {"parity": "even" if number % 2 == 0 else "odd"}
        cause = Cause(kind="event", trigger="daily") if number == 3 else Cause(kind="api")
        answer = await serving.submit(f"run{number}", tags=tags, cause=cause.model_dump(exclude_defaults=True, mode="json"))
        assert answer.status_code == 201


async def names(serving: Api, **query: Any) -> list[str]:
    answer = await serving.http.get("/v1/runs", params=query)
    assert answer.status_code == 200, answer.text
    return [run["run_id"] for run in answer.json()["runs"]]


async def test_runs_are_listed_page_by_page_and_each_once() -> None:
    async with api() as serving:
        await made(serving, 7)
        seen: list[str] = []
        cursor: str | None = None
        for expected in (3, 3, 2):
            given = {"cursor": cursor} if cursor is not None else {}
            answer = (await serving.http.get("/v1/runs", params={"limit": 3, **given})).json()
            seen += [run["run_id"] for run in answer["runs"]]
            cursor = answer["next"]
            if expected == 3 and len(seen) == 3:
                # What comes in between moves no page.
                await serving.submit("later")

    assert seen == [f"run{number}" for number in (6, 5, 4, 3, 2, 1, 0)]
    assert cursor is None


async def test_runs_are_found_by_what_they_are() -> None:
    async with api() as serving:
        await made(serving, 5)

        assert await names(serving, tag="parity=odd") == ["run3", "run1"]
        assert await names(serving, trigger="daily") == ["run3"]
        assert await names(serving, cause="event") == ["run3"]
        assert await names(serving, state="succeeded") == []
        assert await names(serving, pipeline="nothing") == []
        assert len(await names(serving, state="queued", since=1)) == 5


@pytest.mark.parametrize(
    "query", [{"cursor": "%"}, {"cursor": "WyJhIl0"}, {"cursor": "W10"}, {"limit": 0}, {"tag": "x"}, {"state": "no"}, {"nonsense": 1}]
)
async def test_a_query_that_can_not_be_is_refused(query: dict[str, Any]) -> None:
    async with api() as serving:
        answer = await serving.http.get("/v1/runs", params=query)

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_timeline_is_streamed_until_the_run_has_ended() -> None:
    async with api() as serving:
        await serving.submit("run1")
        assert isinstance(serving.store, MemoryStore)
        await serving.store.transaction(lambda connection: connection.exec_driver_sql(_MOMENTS))

        async def end() -> None:
            await serving.store.transaction(lambda connection: connection.exec_driver_sql("UPDATE run SET state = 'failed', ended_at = 3"))

        ending = asyncio.create_task(end())
        whole = (await serving.http.get("/v1/runs/run1/timeline/stream")).text
        rest = (await serving.http.get("/v1/runs/run1/timeline/stream", headers={"Last-Event-ID": "1"})).text
        page = (await serving.http.get("/v1/runs/run1/timeline", params={"limit": 1})).json()
        await ending

    assert [line for line in whole.splitlines() if line.startswith(("event:", "id:"))] == [
        "event: begun", "id: 1", "event: ended", "id: 2", "event: end",
    ]  # fmt: skip
    assert "data: failed" in whole
    assert "event: begun" not in rest
    assert "event: ended" in rest
    assert [moment["type"] for moment in page["moments"]] == ["begun"]
    assert page["next"] is not None


_MOMENTS = """
INSERT INTO timeline (run_no, seq, at, type) VALUES (1, 1, 5, 'begun'), (1, 2, 6, 'ended')
"""


async def test_nobody_knows_where_a_strange_artifact_comes_from() -> None:
    async with api() as serving:
        answer = await serving.http.get(f"/v1/artifacts/sha256:{'0' * 64}/lineage")

    assert answer.status_code == 404
