"""Reports are gathered for one transaction only while every slot has enough to do."""

import asyncio

import pytest

from penstock.contracts.artifacts import inline
from penstock.contracts.messages import AttemptKey, Completed, Reports, encode
from penstock.contracts.states import AttemptState
from penstock.engine.core.wants import Begin
from penstock.engine.dispatcher import SURPLUS
from penstock.engine.inbox import Inbox
from penstock.transport.bus import Properties
from tests.engine.ledger import Ledger
from tests.engine.small_pipelines import collect, each, fanned, inner, pipeline, step

FAN = fanned(each(), inner("fit"), collect("fit"), result="all-fit")
LONG_SECONDS = 30.0


class Delivered:
    """A message with so many reports."""

    redelivered = False
    properties = Properties()

    def __init__(self, reports: int) -> None:
        keys = [AttemptKey(run_no=1, step_no=1, item_no=item, attempt_no=1) for item in range(reports)]
        told = [
            Completed(attempt=key, token="t", runner="r", outcome=AttemptState.SUCCEEDED, outputs={"result": inline(1)}) for key in keys
        ]
        self.body = encode(Reports(reports=tuple(told)))

    async def acknowledge(self) -> None: ...
    async def give_back(self) -> None: ...
    async def refuse(self) -> None: ...


@pytest.fixture
def narrow(ledger: Ledger) -> Ledger:
    """A ledger with two slots, whose attempts are short."""
    ledger.slots = {("default", "cpu"): [2]}
    ledger.learn(0.001)
    return ledger


def test_there_are_reports_to_spare_while_more_waits_behind_the_slots(narrow: Ledger) -> None:
    narrow.submit(FAN, xs=list(range(100)))
    narrow.dispatch()

    assert narrow.spare == 2 * SURPLUS


def test_there_are_none_where_all_is_given_out(narrow: Ledger) -> None:
    narrow.submit(FAN, xs=list(range(100)))
    narrow.dispatch()
    narrow.slots = {("default", "cpu"): [1000]}
    narrow.dispatch()

    assert narrow.spare == 0


def test_there_are_none_where_a_slot_of_another_pool_waits_for_the_next_step(narrow: Ledger) -> None:
    narrow.submit(FAN, xs=list(range(100)))
    narrow.slots["default", "gpu"] = [1]
    narrow.submit(pipeline(step("train", pool="gpu")))
    narrow.dispatch()
    narrow.now += 1000
    narrow.dispatch()

    assert narrow.spare == 0


def test_there_are_none_where_attempts_are_long(ledger: Ledger) -> None:
    ledger.slots = {("default", "cpu"): [2]}
    ledger.learn(10.0)
    ledger.submit(FAN, xs=list(range(100)))
    ledger.dispatch()

    assert ledger.spare == 0


async def test_gathering_ends_with_enough_reports_however_few_messages_they_come_in() -> None:
    inbox = Inbox()
    await inbox.deliver(Delivered(3))
    await inbox.deliver(Delivered(5))

    async with asyncio.timeout(5):
        await inbox.gather(8, LONG_SECONDS)
        assert len((await inbox.batch()).facts[1]) == 8


async def test_gathering_ends_with_a_fact_of_the_process_itself() -> None:
    inbox = Inbox()
    await inbox.deliver(Delivered(1))
    gathering = asyncio.create_task(inbox.gather(8, LONG_SECONDS))
    await asyncio.sleep(0)

    inbox.tell(1, Begin())

    async with asyncio.timeout(5):
        await gathering


async def test_gathering_ends_after_its_time() -> None:
    inbox = Inbox()
    await inbox.deliver(Delivered(1))

    async with asyncio.timeout(5):
        await inbox.gather(8, 0.001)
        assert len((await inbox.batch()).deliveries) == 1


async def test_what_was_gathered_is_not_counted_for_the_next_batch() -> None:
    inbox = Inbox()
    await inbox.deliver(Delivered(8))
    await inbox.batch()
    gathering = asyncio.create_task(inbox.gather(8, LONG_SECONDS))
    await asyncio.sleep(0)

    assert not gathering.done()
    gathering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gathering
