"""Lists too long to travel, collected outside of decisions."""

import pytest

from penstock.contracts.artifacts import (
    DIRECTORY,
    ArtifactRef,
    DirectoryEntry,
    DirectoryManifest,
    ListManifest,
    inline,
    manifest_bytes,
    refs_in,
)
from penstock.contracts.bindings import Files, FromItem, FromNode, FromParameter
from penstock.contracts.messages import Order
from penstock.contracts.spec import CollectSpec, EachSpec
from penstock.contracts.states import RunState
from tests.engine.cluster import Cluster, cluster, parameter, pipeline, step

pytestmark = pytest.mark.usefixtures("each_store")

MANY = 70


async def directory_of(c: Cluster, number: int) -> ArtifactRef:
    """A directory of one file."""
    file = await c.artifacts.write(b"%d" % number)
    data = manifest_bytes(DirectoryManifest(files=(DirectoryEntry(path="model.bin", digest=file, size=2),)))
    digest = await c.artifacts.write(data)
    return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(data), kind="directory", media_type=DIRECTORY)


async def test_a_file_of_each_of_many_directories_is_collected() -> None:
    fit = step("fit", inputs={"x": FromItem(item="each")}, scope=("each",))
    models = CollectSpec(name="models", collect=Files(of=FromNode(node="fit"), file="model.bin"), over="each")
    count = step("count", inputs={"models": FromNode(node="models")})
    fan = EachSpec(name="each", each=(FromParameter(parameter="xs"),))
    spec = pipeline(fan, fit, models, count, parameters=(parameter("xs", list(range(MANY))),))
    collected: list[ArtifactRef] = []

    async with cluster() as c:
        directories = [await directory_of(c, number) for number in range(MANY)]

        def answer(order: Order) -> object:
            if "x" not in order.inputs:
                collected.extend(refs_in(order.inputs["models"]))
                return c.completed(order, 1)
            (number,) = refs_in(order.inputs["x"])
            return c.completed(order, outputs={"result": directories[number.json_value()]})

        c.answer = answer
        run = await c.submit(spec)
        assert (await c.ended(run))[0] is RunState.SUCCEEDED
        (manifest,) = collected
        items = ListManifest.model_validate_json((await c.artifacts.local(manifest.digest)).read_bytes()).items
        c.artifacts.close()

    assert [ref.name for item in items for ref in refs_in(item)] == ["model.bin"] * MANY
    assert inline(1) not in items
