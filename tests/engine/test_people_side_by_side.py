"""Approvals and names on stores whose transactions run side by side: each question has one answer, each version one number."""

import asyncio

import pytest
from sqlalchemy import Connection

from penstock.contracts.approvals import ApprovalView, DecisionRequest
from penstock.contracts.artifacts import inline
from penstock.contracts.errors import InvalidInput
from penstock.contracts.states import RunState
from penstock.engine.people.approvals import approval, approvals, decide
from penstock.engine.people.named_artifacts import versions
from tests.engine.cluster import PATIENCE_SECONDS, Cluster, cluster
from tests.engine.small_pipelines import APPROVED, ask, pipeline, register, step

pytestmark = pytest.mark.usefixtures("each_store")
GATED = pipeline(ask(), step("train", when=(APPROVED,), cache=False), register(), result="ok")


async def asked(engine: Cluster, count: int = 1) -> list[ApprovalView]:
    """The approvals that are open, once there are so many."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = await engine.store.read(lambda connection: approvals(connection, "default"))
            if len(found) == count:
                return found
            await asyncio.sleep(0.01)  # no row tells that it has come


async def answer(engine: Cluster, view: ApprovalView, *, approved: bool, by: str) -> bool:
    """Whether somebody's answer was taken."""
    request = DecisionRequest(approved=approved)

    def function(connection: Connection) -> ApprovalView:
        return decide(connection, "default", view, request, by=by, now=view.asked_at + 1)

    try:
        await engine.store.transaction(function)
    except InvalidInput:
        return False
    return True


async def test_a_run_goes_on_when_somebody_has_answered_in_the_rows() -> None:
    async with cluster(lambda order: 1) as c:
        run_no = await c.submit(GATED)
        (view,) = await asked(c)
        assert c.executed == []

        assert await answer(c, view, approved=True, by="ada")

        assert await c.ended(run_no) == (RunState.SUCCEEDED, None)
        assert await c.outputs(run_no) == {"result": {"approved": True, "by": "ada", "comment": ""}}
        (version,) = await c.store.read(lambda connection: versions(connection, "default", "churn"))
        assert (version.version, version.value, version.aliases) == (1, inline(1), ("candidate",))


async def test_of_answers_at_one_time_one_counts() -> None:
    async with cluster(lambda order: 1) as c:
        run_no = await c.submit(GATED)
        (view,) = await asked(c)

        taken = await asyncio.gather(*(answer(c, view, approved=number % 2 == 0, by=f"person-{number}") for number in range(6)))

        assert sum(taken) == 1
        await c.ended(run_no)
        decided = await c.store.read(lambda connection: approval(connection, "default", view.run_id, "ok"))
        assert decided.decided_by == f"person-{taken.index(True)}"
        assert (await c.outputs(run_no))["result"]["approved"] is (decided.state == "approved")


async def test_runs_that_register_at_one_time_make_versions_without_gaps() -> None:
    made = iter(range(100))
    async with cluster(lambda order: next(made)) as c:
        spec = pipeline(step("train", cache=False), register())
        runs = await asyncio.gather(*(c.submit(spec) for _ in range(6)))
        for run_no in runs:
            assert (await c.ended(run_no))[0] is RunState.SUCCEEDED

        found = await c.store.read(lambda connection: versions(connection, "default", "churn"))
        assert [version.version for version in found] == [6, 5, 4, 3, 2, 1]
        assert len({version.digest for version in found}) == 6
