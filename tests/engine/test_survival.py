"""What a coordinator outlives: messages that no broker would take, and trouble at its own chores."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection
from typing_extensions import override

from penstock.contracts.errors import ContractError
from penstock.contracts.messages import AttemptKey, CancelAttempts, CancelRun, Claim, ClaimAnswer, Heartbeat, Order, Reports, decode, encode
from penstock.contracts.states import AttemptState, RunState
from penstock.engine.dispatcher import Dispatcher
from penstock.engine.statement import Statement
from penstock.engine.store import Store
from penstock.transport.bus import DEAD, Envelope, Exchange
from penstock.transport.buses.memory import MemoryBus
from tests.engine import cluster as clusters
from tests.engine.cluster import PATIENCE_SECONDS, Cluster, cluster, pipeline, serving, step

pytestmark = pytest.mark.usefixtures("each_store")

T = TypeVar("T")
ONE_STEP = pipeline(step("train"))


class NarrowBus(MemoryBus):
    """A bus that takes no order of a run with that tag, as a broker takes none that is too long."""

    @override
    async def publish(self, envelope: Envelope) -> None:
        if envelope.exchange is Exchange.WORK and b"enormous" in envelope.body:
            raise ContractError("a message of 20000000 bytes is over the limit")
        await super().publish(envelope)


async def test_a_run_whose_order_no_bus_takes_fails_and_the_others_go_on() -> None:
    made = Cluster(clusters.make_store(), NarrowBus())
    async with serving(made) as c:
        too_much = await c.submit(ONE_STEP, tags={"size": "enormous"})
        other = await c.submit(pipeline(step("other")))
        await c.report(c.completed(await c.order()))

        assert (await c.ended(other))[0] is RunState.SUCCEEDED
        await _stopped(c, too_much)
        assert "over the limit" in ((await c.state(too_much))[1] or "")


async def _stopped(c: Cluster, run_no: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await c.state(run_no))[1] is None and not (await c.state(run_no))[0].is_terminal:
            await c.coordinator.ended(run_no, 0.01)


class PolluteBus(MemoryBus):
    """A bus that refuses answers to addresses that are too long."""

    @override
    async def publish(self, envelope: Envelope) -> None:
        if envelope.reply_queue is not None and len(envelope.reply_queue) > 100:
            raise ContractError("the routing key has more than the bytes that AMQP takes")
        await super().publish(envelope)


async def test_an_answer_that_can_not_be_addressed_ends_nothing() -> None:
    made = Cluster(clusters.make_store(), PolluteBus())
    async with serving(made) as c:
        run_no = await c.submit(ONE_STEP)
        order = await c.order()

        await c.report(_claim(order, "q" * 200))
        await c.report(c.completed(order))

        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED


def _claim(order: Order, reply_to: str) -> Claim:
    return Claim(attempt=order.attempt, token=order.token, runner="hand", incarnation="one", reply_to=reply_to)


@pytest.mark.parametrize("changed", [{"attempt": AttemptKey(run_no=77, step_no=0, item_no=0, attempt_no=1)}, {"token": "0" * 32}], ids=str)
async def test_who_claims_what_there_is_not_is_denied_and_waits_for_nothing(changed: dict[str, object]) -> None:
    async with cluster() as c, c.bus.listen(Exchange.LOGS) as listener:
        await c.submit(ONE_STEP)
        order = await c.order()

        await c.report(_claim(order.model_copy(update=changed), listener.name))

        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = decode(await anext(aiter(listener)))
        assert isinstance(answer, ClaimAnswer)
        assert not answer.granted
        assert answer.reason


class StumblingStore:
    """A store whose reads fail as a bug would have them fail, some times."""

    def __init__(self, store: Store, times: int) -> None:
        self._store = store
        self._times = times
        self.has_failed = asyncio.Event()

    @property
    def is_concurrent(self) -> bool:
        return self._store.is_concurrent

    async def transaction(self, function: Callable[[Connection], T]) -> T:
        return await self._store.transaction(function)

    async def read(self, function: Callable[[Connection], T]) -> T:
        if self._times > 0:
            self._times -= 1
            self.has_failed.set()
            raise RuntimeError("a mistake of ours")
        return await self._store.read(function)

    async def close(self) -> None:
        await self._store.close()


async def test_a_mistake_in_upkeep_is_not_the_end_of_a_coordinator() -> None:
    stumbling = StumblingStore(clusters.make_store(), times=1)
    async with serving(Cluster(stumbling)) as c:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await stumbling.has_failed.wait()

        run_no = await c.submit(ONE_STEP)
        await c.report(c.completed(await c.order()))

        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED


class MortalBus(MemoryBus):
    """A bus that takes messages away."""

    def bury(self, body: bytes) -> None:
        self._queue(DEAD).put(Envelope(body=body))


async def test_the_order_of_a_dead_letter_is_made_again_and_its_report_is_heard() -> None:
    async with serving(Cluster(clusters.make_store(), bus := MortalBus())) as c:
        run_no = await c.submit(ONE_STEP)
        order = await c.order()

        bus.bury(b"no message")
        bus.bury(encode(order))
        again = await c.order()
        bus.bury(encode(Reports(reports=(c.completed(again),))))

        assert again.attempt.attempt_no == order.attempt.attempt_no + 1
        assert (await c.ended(run_no))[0] is RunState.SUCCEEDED


async def test_who_executes_what_has_ended_is_told_to_stop_until_he_hears_it() -> None:
    async with cluster() as c:
        run_no = await c.submit(ONE_STEP)
        order = await c.order()
        await c.publish(encode(CancelRun(run_id="run1")))
        await _stopped(c, run_no)
        await c.report(c.completed(order, outcome=AttemptState.CANCELLED, outputs={}))
        await c.ended(run_no)

        # The first message came before anybody listened.
        async with c.bus.listen(Exchange.CONTROL) as listener, asyncio.TaskGroup() as tasks:
            beating = tasks.create_task(_beat(c, order.attempt))
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert decode(await anext(aiter(listener))) == CancelAttempts(attempts=(order.attempt,))
            beating.cancel()


async def _beat(c: Cluster, attempt: AttemptKey) -> None:
    while True:
        heartbeat = Heartbeat(runner="hand", incarnation="one", pools={"cpu": 100}, attempts=(attempt,))
        await c.bus.publish(Envelope(exchange=Exchange.VITALS, body=encode(heartbeat)))
        await asyncio.sleep(0.05)


_lose_spec = Statement("UPDATE run SET spec_digest = 'gone' WHERE run_no = :run_no")
_unsend = Statement("UPDATE attempt SET sent_at = NULL, made_at = 0 WHERE run_no = :run_no")


async def test_an_order_that_can_not_be_made_again_keeps_nobody_from_anything() -> None:
    async with cluster() as c:
        run_no = await c.submit(ONE_STEP)
        await c.order()
        await c.store.transaction(lambda connection: _unsend(connection, run_no=run_no) + _lose_spec(connection, run_no=run_no))
        newcomer = Dispatcher(key=b"key")

        assert await c.store.read(lambda connection: newcomer.unsent(connection, unsent_before=1, unseen_before=0)) == []
        assert [broken for broken, _ in newcomer.take_broken()] == [run_no]
