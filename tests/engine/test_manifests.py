"""Directories that pipelines look into: their manifests are read by the coordinator, and may be gone."""

import pytest

from penstock.contracts.artifacts import DIRECTORY, ArtifactRef, DirectoryEntry, DirectoryManifest, manifest_bytes
from penstock.contracts.bindings import Files, FromNode
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.states import RunState
from tests.engine.cluster import cluster, pipeline, step

pytestmark = pytest.mark.usefixtures("each_store")

MANIFEST = manifest_bytes(DirectoryManifest(files=(DirectoryEntry(path="a.csv", digest=digest_bytes(b"x"), size=1),)))
FOLDER = ArtifactRef(
    uri=f"cas:{digest_bytes(MANIFEST)}", digest=digest_bytes(MANIFEST), size=len(MANIFEST), kind="directory", media_type=DIRECTORY
)
SPEC = pipeline(step("make"), step("read", inputs={"file": Files(of=FromNode(node="make"), file="a.csv")}))


async def test_a_file_of_a_directory_is_found_by_its_manifest() -> None:
    async with cluster() as c:
        await c.artifacts.write(MANIFEST)
        run_no = await c.submit(SPEC)
        await c.report(c.completed(await c.order(), outputs={"result": FOLDER}))

        order = await c.order()

        assert order.inputs["file"].model_dump()["digest"] == digest_bytes(b"x")
        await c.report(c.completed(order))
        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED


async def test_a_manifest_that_is_gone_fails_the_run_with_the_mend_and_no_other_run() -> None:
    async with cluster() as c:
        run_no = await c.submit(SPEC)
        other = await c.submit(pipeline(step("other")))
        orders = {order.attempt.run_no: order for order in [await c.order(), await c.order()]}

        await c.report(c.completed(orders[run_no], outputs={"result": FOLDER}), c.completed(orders[other]))

        state, error = await c.ended(run_no)
        assert state is RunState.FAILED
        assert "is gone or corrupt; rerun the step that made it" in (error or "")
        assert "internal error" not in (error or "")
        assert (await c.ended(other))[0] is RunState.SUCCEEDED


async def test_a_manifest_that_is_none_fails_the_run_with_its_digest() -> None:
    async with cluster() as c:
        digest = await c.artifacts.write(b"no manifest")
        run_no = await c.submit(SPEC)

        await c.report(
            c.completed(await c.order(), outputs={"result": FOLDER.model_copy(update={"digest": digest, "uri": f"cas:{digest}"})})
        )

        state, error = await c.ended(run_no)
        assert state is RunState.FAILED
        assert f"{digest} is no directory" in (error or "")
