"""Published pipelines and components over HTTP: publishing, looking, and the address that always runs the default version."""

import json
from typing import Any

import pytest

from penstock.contracts.artifacts import INLINE_LIMIT, NULL, ArtifactRef
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.messages import SubmitRun, decode
from penstock.contracts.spec import ParameterSpec, PipelineSpec
from penstock.transport.bus import INBOX
from tests.engine.api.serving import Api, api
from tests.engine.small_pipelines import pipeline, step

FLOW = pipeline(step("first"))
TYPED = PipelineSpec(
    name="typed",
    parameters=(
        ParameterSpec(name="raw", type="File", read="file"),
        ParameterSpec(
            name="depths", type="list[int]", schema={"type": "array", "items": {"type": "integer"}}, required=False, default=NULL
        ),
        ParameterSpec(name="note", type="str", read="text", required=False, default=NULL),
        ParameterSpec(name="model", type="Model", read="object", required=False, default=NULL),
        ParameterSpec(name="days", type="list[File]", read="object", required=False, default=NULL),
    ),
)


def plain(spec: PipelineSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude_defaults=True) | {"spec": spec.spec}


async def publish(served: Api, spec: PipelineSpec = FLOW, expected: int = 201, **fields: Any) -> dict[str, Any]:
    answer = await served.http.post(f"/v1/pipelines/{spec.name}/versions", json={"spec": plain(spec), **fields})
    assert answer.status_code == expected, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def run(served: Api, expected: int = 201, pipeline: str = "small", headers: dict[str, str] | None = None, **body: Any) -> Any:
    version = body.pop("query", "")
    answer = await served.http.post(f"/v1/pipelines/{pipeline}/runs{version}", json=body, headers=headers)
    assert answer.status_code == expected, answer.text
    return answer.json()


@pytest.mark.usefixtures("each_store")
async def test_a_published_pipeline_is_run_by_its_name_alone() -> None:
    async with api() as served:
        first = await publish(served)
        assert (first["version"], first["is_default"], first["state"]) == ("1", True, "active")
        view = await run(served)
        assert (view["pipeline"], view["tags"], view["cause"]["of"]) == ("small", {"version": "1"}, "small@1")
        async with served.bus.consume(INBOX, prefetch=1) as deliveries:
            async for delivery in deliveries:
                await delivery.acknowledge()
                bell = decode(delivery.body)
                assert isinstance(bell, SubmitRun)
                assert bell.run_id == view["run_id"]
                break
        await publish(served, pipeline(step("second")))
        assert (await run(served))["tags"] == {"version": "2"}
        assert (await run(served, version="1"))["tags"] == {"version": "1"}
        assert (await run(served, query="?version=1"))["spec_digest"] == first["spec_digest"]


async def test_publishing_the_same_again_answers_that_nothing_is_new() -> None:
    async with api() as served:
        first = await publish(served, version="1.0")
        assert await publish(served, expected=200, version="1.0") == first
        refused = await publish(served, pipeline(step("second")), expected=422, version="1.0")
        assert "versions never change" in refused["detail"]


async def test_a_deprecated_version_warns_and_a_disabled_one_refuses_runs() -> None:
    async with api() as served:
        await publish(served)
        changed = await served.http.post("/v1/pipelines/small/versions/1/deprecate", json={"note": "use small-2"})
        assert changed.json()["state"] == "deprecated"
        assert (await run(served))["tags"]["warning"] == "small@1 is deprecated: use small-2"
        await served.http.post("/v1/pipelines/small/versions/1/disable", json={})
        assert "small@1 is disabled, so it makes no new runs: use small-2" in (await run(served, 422))["detail"]
        await served.http.post("/v1/pipelines/small/versions/1/activate", json={"note": ""})
        assert (await run(served))["tags"] == {"version": "1"}


async def test_aliases_are_set_moved_and_forgotten() -> None:
    async with api() as served:
        await publish(served)
        await publish(served, pipeline(step("second")), makes_default=False)
        moved = await served.http.put("/v1/pipelines/small/aliases/staging", json={"version": "2"})
        assert moved.json()["aliases"] == ["staging"]
        assert (await run(served, version="staging"))["tags"] == {"version": "2"}
        chosen = await served.http.put("/v1/pipelines/small/default", json={"version": "staging"})
        assert (chosen.json()["version"], chosen.json()["is_default"]) == ("2", True)
        assert (await served.http.delete("/v1/pipelines/small/aliases/staging")).status_code == 204
        gone = await run(served, 404, version="staging")
        assert "no version or alias 'staging'" in gone["detail"]


async def test_what_is_published_is_listed_page_by_page_and_shown_with_its_spec() -> None:
    async with api() as served:
        for name in ("a", "b", "c"):
            await publish(served, FLOW.model_copy(update={"name": name, "doc": f"{name} it is"}))
        first = (await served.http.get("/v1/pipelines", params={"limit": 2})).json()
        rest = (await served.http.get("/v1/pipelines", params={"limit": 2, "cursor": first["next"]})).json()
        assert [one["name"] for one in first["pipelines"] + rest["pipelines"]] == ["a", "b", "c"]
        assert rest["next"] is None
        one = (await served.http.get("/v1/pipelines/a")).json()
        assert (one["doc"], one["default_version"], one["versions"]) == ("a it is", "1", 1)
        shown = (await served.http.get("/v1/pipelines/a/versions/1")).json()
        assert PipelineSpec.model_validate(shown["spec"]).doc == "a it is"
        versions = (await served.http.get("/v1/pipelines/a/versions")).json()
        assert [view["version"] for view in versions["versions"]] == ["1"]
        missing = await served.http.get("/v1/pipelines/aa")
        assert (missing.status_code, "did you mean 'a'" in missing.json()["detail"]) == (404, True)


async def test_plain_json_becomes_values_of_the_declared_types() -> None:
    async with api() as served:
        await publish(served, TYPED)
        digest = await served.artifacts.write(b"a,b\n1,2\n")
        uploaded = {"uri": f"cas:{digest}", "digest": digest, "size": 8, "media_type": "text/csv", "suffix": ".csv"}
        view = await run(served, pipeline="typed", parameters={"raw": uploaded, "depths": [3, 5], "note": "x", "days": [uploaded]})
        kept = view["parameters"]
        assert ArtifactRef.model_validate(kept["depths"]).json_value() == [3, 5]
        assert ArtifactRef.model_validate(kept["note"]).json_value() == "x"
        assert ArtifactRef.model_validate(kept["raw"]).suffix == ".csv"
        assert [ArtifactRef.model_validate(item).digest for item in kept["days"]["list"]] == [digest]
        long = await run(served, pipeline="typed", parameters={"raw": uploaded, "depths": list(range(INLINE_LIMIT))})
        ref = ArtifactRef.model_validate(long["parameters"]["depths"])
        assert json.loads((await served.artifacts.local(ref.digest)).read_bytes()) == list(range(INLINE_LIMIT))


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({}, "parameters.raw: typed needs it (File)"),
        ({"raw": "/etc/passwd"}, "name an artifact"),
        ({"raw": {"uri": "file:///etc/passwd", "digest": "x", "size": 1}}, "is no artifact"),
        ({"raw": {"uri": f"cas:{digest_bytes(b'never')}", "digest": digest_bytes(b"never"), "size": 1}}, "not in the artifact store"),
        ({"raw": {"uri": 1, "digest": 2}}, "parameters.raw: it takes File"),
        ({"raw": "artifact://Bad Name"}, "names no artifact"),
        ({"raw": {}, "x": 1}, "typed has no parameter 'x'"),
        ({"raw": "artifact://m@prod", "depths": [1, "2"]}, "'2' is not of type 'integer' at [1]"),
        ({"raw": "artifact://m@prod", "depths": 1e400}, "parameters.depths"),
        ({"raw": "artifact://m@prod", "note": 5}, "write text, in quotes"),
        ({"raw": "artifact://m@prod", "model": {"a": 1}}, "an object of Python, which JSON can't hold"),
    ],
)
async def test_what_does_not_fit_is_refused_with_the_place_and_the_mend(parameters: dict[str, Any], why: str) -> None:
    async with api() as served:
        await publish(served, TYPED)
        body = json.dumps({"parameters": parameters}).encode()
        answer = await served.http.post("/v1/pipelines/typed/runs", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert why in answer.json()["detail"]


async def test_a_schema_that_points_elsewhere_is_never_followed() -> None:
    spec = PipelineSpec(name="sly", parameters=(ParameterSpec(name="x", schema={"$ref": "http://127.0.0.1:1/schema.json"}),))
    async with api() as served:
        await publish(served, spec)
        assert "JSON Schema can't be used" in (await run(served, 422, "sly", parameters={"x": 1}))["detail"]


@pytest.mark.usefixtures("each_store")
async def test_the_same_idempotency_key_is_the_same_run_even_of_another_default() -> None:
    async with api() as served:
        await publish(served)
        first = await run(served, headers={"Idempotency-Key": "order-7"})
        await publish(served, pipeline(step("second")))
        again = await run(served, 200, headers={"Idempotency-Key": "order-7"})
        assert (again["run_id"], again["tags"]) == (first["run_id"], {"version": "1"})
        other = await run(served, headers={"Idempotency-Key": "order-8"})
        assert (other["run_id"] != first["run_id"], other["tags"]) == (True, {"version": "2"})


@pytest.mark.parametrize(
    ("address", "body", "status"),
    [
        ("/v1/pipelines/other/versions", {"spec": plain(FLOW)}, 422),
        ("/v1/pipelines/small/versions", {"spec": {"name": "small", "spec": 99}}, 409),
        ("/v1/pipelines/small/versions", {"spec": plain(FLOW), "version": "a b"}, 422),
        ("/v1/pipelines/small/versions", {"spec": plain(FLOW), "extra": 1}, 422),
        ("/v1/components/small/versions", {"spec": plain(FLOW)}, 422),
        ("/v1/pipelines/Bad%20Name/versions", {"spec": plain(FLOW)}, 422),
        ("/v1/pipelines/small/versions/9/disable", {}, 404),
        ("/v1/pipelines/small/runs", {}, 404),
    ],
)
async def test_what_can_not_be_published_or_found_is_refused(address: str, body: dict[str, Any], status: int) -> None:
    async with api() as served:
        answer = await served.http.post(address, json=body)
        assert answer.status_code == status, answer.text
        assert (await served.http.get("/v1/pipelines")).json()["pipelines"] == []


async def test_components_are_published_and_fetched_the_same_way() -> None:
    async with api() as served:
        answer = await served.http.post("/v1/components/small/versions", json={"kind": "step", "spec": plain(FLOW), "version": "1.2"})
        assert (answer.status_code, answer.json()["kind"]) == (201, "step")
        await served.http.put("/v1/components/small/aliases/stable", json={"version": "1.2"})
        shown = (await served.http.get("/v1/components/small/versions/stable")).json()
        assert PipelineSpec.model_validate(shown["spec"]).steps[0].name == "first"
        assert (await served.http.get("/v1/pipelines")).json()["pipelines"] == []
        disabled = await served.http.post("/v1/components/small/versions/stable/disable", json={"note": "leaks"})
        assert (disabled.json()["state"], disabled.json()["note"]) == ("disabled", "leaks")
