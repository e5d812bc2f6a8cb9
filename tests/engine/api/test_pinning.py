"""URIs among the parameters of a run that is asked for over HTTP: read from declared datastores, or refused."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.spec import ParameterSpec, PipelineSpec
from penstock.engine.access.holdings import held
from penstock.transport.datastores.memory import MemoryDatastores
from tests.engine.api.serving import Api, api

FLOW = PipelineSpec(
    name="flow",
    parameters=(
        ParameterSpec(name="raw", type="File", read="file"),
        ParameterSpec(name="tree", type="Directory", read="directory"),
        ParameterSpec(name="days", type="list[File]", read="object"),
        ParameterSpec(name="note", type="str", read="text"),
    ),
)
GIVEN = {"raw": "s3://lake/a.csv", "tree": "s3://lake/tree/", "days": ["s3://lake/a.csv"], "note": "s3://lake/a.csv"}


@asynccontextmanager
async def lake() -> AsyncGenerator[tuple[Api, MemoryDatastores]]:
    """An API with a datastore, and a published pipeline."""
    async with api() as served:
        datastores = MemoryDatastores(served.artifacts)
        datastores.place.contents |= {"s3://lake/a.csv": b"1", "s3://lake/tree/x": b"2"}
        served.app.state.services = replace(served.app.state.services, datastores=datastores)
        spec = FLOW.model_dump(mode="json", exclude_defaults=True) | {"spec": FLOW.spec}
        assert (await served.http.post("/v1/pipelines/flow/versions", json={"spec": spec})).status_code == 201
        yield served, datastores


async def run(served: Api, expected: int, **changed: Any) -> Any:
    answer = await served.http.post("/v1/pipelines/flow/runs", json={"parameters": {**GIVEN, **changed}})
    assert answer.status_code == expected, answer.text
    return answer.json()


async def test_uris_in_declared_datastores_are_brought_in_and_told_of() -> None:
    async with lake() as (served, _):
        view = await run(served, 201)

        raw = view["parameters"]["raw"]
        assert (raw["digest"], raw["suffix"]) == (digest_bytes(b"1"), ".csv")
        assert view["parameters"]["tree"]["kind"] == "directory"
        assert [item["digest"] for item in view["parameters"]["days"]["list"]] == [digest_bytes(b"1")]
        assert view["tags"]["input.raw"] == f"s3://lake/a.csv {digest_bytes(b'1')}"
        assert "input.note" not in view["tags"]
        wanted = {digest_bytes(b"1"), digest_bytes(b"2"), view["parameters"]["tree"]["digest"]}
        assert await served.store.read(lambda connection: held(connection, "default", wanted)) == wanted


@pytest.mark.parametrize(
    "uri", ["s3://other/a.csv", "file:///etc/passwd", "http://169.254.169.254/latest", "s3://lake/../x", "s3://lake/b"]
)
async def test_other_uris_are_refused(uri: str) -> None:
    async with lake() as (served, _):
        assert uri.partition("://")[0] in (await run(served, 422, raw=uri))["detail"]


async def test_a_datastore_that_is_away_is_no_fault_of_the_request() -> None:
    async with lake() as (served, datastores):
        datastores.place.is_away = True

        await run(served, 503)
