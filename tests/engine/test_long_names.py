"""Names that people and machines choose are longer than anybody thought: no run fails for that, on whatever store."""

import pytest

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.messages import Metric
from penstock.contracts.states import RunState
from tests.engine.cluster import cluster, pipeline, step

pytestmark = pytest.mark.usefixtures("each_store")
LONG = "a long name " * 400


async def test_attachments_and_metrics_of_any_name_are_kept_and_end_no_run() -> None:
    digest = digest_bytes(b"figure")
    figure = ArtifactRef(uri=f"cas:{digest}", digest=digest, size=6)
    async with cluster() as c:
        run_no = await c.submit(pipeline(step("train")))
        order = await c.order()

        await c.report(c.completed(order, attachments={LONG: figure}, metrics=(Metric(name=LONG, value=1.0),), runner="r" * 300))

        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED


async def test_the_longest_id_that_a_run_may_have_can_be_kept() -> None:
    async with cluster(lambda order: 1) as c:
        run_no = await c.submit(pipeline(step("train")), run_id="r" * 63)

        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED
