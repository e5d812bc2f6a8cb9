"""Slots are given out in the transaction that decides; what is decided does not suffer where that fails."""

from typing import Any

import pytest
from sqlalchemy import Connection

from penstock.contracts.messages import Order
from penstock.contracts.states import RunState
from penstock.engine.dispatcher import Dispatcher
from tests.engine import cluster as clusters
from tests.engine.cluster import cluster, pipeline, step

pytestmark = pytest.mark.usefixtures("each_store")


async def test_what_is_decided_stays_where_slots_can_not_be_given_out_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if not clusters.make_store().is_concurrent:
        # It has one transaction for both.
        return
    dispatch, calls = Dispatcher.dispatch, list[bool]()

    def stumbling(self: Dispatcher, connection: Connection, *arguments: Any, waits: bool = True) -> list[Order]:
        calls.append(waits)
        if not waits:
            raise RuntimeError("a mistake of ours")
        return dispatch(self, connection, *arguments, waits=waits)

    monkeypatch.setattr(Dispatcher, "dispatch", stumbling)
    async with cluster() as c:
        run_no = await c.submit(pipeline(step("train")))
        await c.report(c.completed(await c.order()))

        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED
    assert {True, False} <= set(calls)
