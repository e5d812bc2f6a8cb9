"""The runner's protocol, with a bus in memory and steps that are plain callables."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import msgpack
import pytest
import structlog
from typing_extensions import override

from penstock.contracts.artifacts import Value, inline
from penstock.contracts.errors import ContractError
from penstock.contracts.messages import CancelAttempts, Claim, ClaimAnswer, Completed, Order, Released, Started, encode
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import AttemptState
from penstock.runners.launcher import ReportProgress
from penstock.runners.launchers.memory import MemoryLauncher, Work
from penstock.runners.presence import Identity
from penstock.runners.runner import Pace, Runner
from penstock.transport.bus import Envelope, Exchange
from tests.runners.queue_bus import QueueBus, QueuedDelivery
from tests.runners.workbench import an_order


def one(order: Order) -> Mapping[str, Value]:
    return {"result": inline(1)}


@dataclass
class Scene:
    """A runner on a bus. `seconds` an attempt takes, by item number."""

    slots: int = 1
    pace: Pace = field(default_factory=lambda: Pace(young=0.05, heartbeat=0.05, reconnect=0.01))
    bus: QueueBus = field(default_factory=QueueBus)
    seconds: dict[int, float] = field(default_factory=dict[int, float])
    work: Work = one

    def __post_init__(self) -> None:
        self.launcher = MemoryLauncher({"main": self.work}, lambda order: self.seconds.get(order.attempt.item_no, 0.0))
        self.runner = Runner(self.bus, self.launcher, Identity(name="r-1", incarnation="i-1", pools={"cpu": self.slots}), pace=self.pace)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["asyncio.Task[None]", None]:
        task = asyncio.create_task(self.runner.run())
        try:
            async with asyncio.timeout(10):
                await self.bus.listening.wait()
                yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def lasting(self, seconds: float = 1000.0) -> Order:
        order = an_order()
        self.seconds[order.attempt.item_no] = seconds
        return order

    def began(self, order: Order) -> int:
        return sum(executed.attempt == order.attempt for executed in self.launcher.executed)


async def acknowledged(delivery: QueuedDelivery) -> None:
    async with asyncio.timeout(10):
        await delivery.done.wait()


async def test_a_short_step_is_acknowledged_after_its_completion_only() -> None:
    scene = Scene()
    async with scene.running():
        delivery = scene.bus.put(an_order())
        await acknowledged(delivery)

    assert [type(report) for report in scene.bus.reports] == [Completed]


async def test_a_completion_names_runner_token_and_outputs() -> None:
    scene, order = Scene(), an_order()
    async with scene.running():
        scene.bus.put(order)
        completed = await scene.bus.report(Completed, order.attempt)

    assert (completed.runner, completed.token, completed.outputs) == ("r-1", order.token, {"result": inline(1)})


async def test_an_order_of_many_small_values_is_executed() -> None:
    scene = Scene()
    order = an_order().model_copy(update={"inputs": {f"x{number}": inline("x" * 4000) for number in range(100)}})
    async with scene.running():
        await acknowledged(scene.bus.put(order))

    assert scene.began(order) == 1


async def test_an_older_step_is_reported_as_started_and_acknowledged_while_it_runs() -> None:
    scene = Scene()
    order = scene.lasting()
    async with scene.running():
        delivery = scene.bus.put(order)
        started = await scene.bus.report(Started, order.attempt)
        await acknowledged(delivery)

        assert started.token == order.token
        assert not [report for report in scene.bus.reports if isinstance(report, Completed)]


async def test_a_slot_with_an_older_step_takes_no_other_order() -> None:
    scene = Scene()
    order, next_one = scene.lasting(0.3), an_order()
    async with scene.running():
        await acknowledged(scene.bus.put(order))
        waiting = scene.bus.put(next_one)
        await scene.bus.report(Completed, order.attempt)
        assert scene.began(next_one) == 0
        await acknowledged(waiting)


async def test_as_many_steps_run_at_once_as_there_are_slots() -> None:
    scene = Scene(slots=2)
    orders = [scene.lasting() for _ in range(3)]
    async with scene.running():
        for order in orders:
            scene.bus.put(order)
        for order in orders[:2]:
            await scene.bus.report(Started, order.attempt)

        assert [scene.began(order) for order in orders] == [1, 1, 0]


async def test_heartbeats_name_the_attempts_that_run() -> None:
    scene = Scene()
    order = scene.lasting()
    async with scene.running():
        await acknowledged(scene.bus.put(order))
        async with scene.bus.changed:
            count = len(scene.bus.heartbeats)
            await scene.bus.changed.wait_for(lambda: len(scene.bus.heartbeats) > count)

        last = scene.bus.heartbeats[-1]
        assert (last.runner, last.incarnation, last.pools, last.attempts) == ("r-1", "i-1", {"cpu": 1}, (order.attempt,))


async def test_progress_rides_in_the_heartbeat() -> None:
    class Telling(MemoryLauncher):
        @override
        async def execute(self, order: Order, step: object, progress: ReportProgress) -> Completed:
            progress(3.0, 10.0, "third")
            return await asyncio.Future()

    scene = Scene()
    scene.runner = Runner(scene.bus, Telling({}), Identity(name="r-1", incarnation="i-1", pools={"cpu": 1}), pace=scene.pace)
    async with scene.running():
        scene.bus.put(an_order())
        async with scene.bus.changed:
            await scene.bus.changed.wait_for(lambda: any(heartbeat.progress for heartbeat in scene.bus.heartbeats))

    told = next(heartbeat.progress[0] for heartbeat in scene.bus.heartbeats if heartbeat.progress)
    assert (told.done, told.total, told.text) == (3.0, 10.0, "third")


async def test_a_redelivered_order_is_claimed_and_runs_under_the_granted_attempt() -> None:
    scene, order = Scene(), an_order()
    granted_token = "second"  # of no worth
    granted = order.attempt.model_copy(update={"attempt_no": 2})
    async with scene.running():
        delivery = scene.bus.put(order, redelivered=True)
        claim = await scene.bus.report(Claim, order.attempt)
        assert claim.reply_to == scene.bus.listeners[0].name
        assert scene.launcher.executed == []
        scene.bus.tell(ClaimAnswer(asked=order.attempt, granted=True, attempt=granted, token=granted_token))
        completed = await scene.bus.report(Completed, granted)
        await acknowledged(delivery)

    assert completed.token == granted_token


async def test_a_denied_claim_executes_nothing() -> None:
    scene, order = Scene(), an_order()
    async with scene.running():
        delivery = scene.bus.put(order, redelivered=True)
        await scene.bus.report(Claim, order.attempt)
        scene.bus.tell(ClaimAnswer(asked=order.attempt, granted=False, reason="held by another"))
        await acknowledged(delivery)

    assert scene.launcher.executed == []


async def test_a_step_that_must_not_run_twice_is_claimed_at_its_first_delivery() -> None:
    scene, order = Scene(), an_order(must_claim=True)
    async with scene.running():
        scene.bus.put(order)
        await scene.bus.report(Claim, order.attempt)
        scene.bus.tell(ClaimAnswer(asked=order.attempt, granted=True))
        await scene.bus.report(Completed, order.attempt)

    assert scene.began(order) == 1


async def test_a_second_delivery_of_what_runs_here_is_taken_as_its_own() -> None:
    scene = Scene(slots=2)
    order = scene.lasting()
    async with scene.running():
        scene.bus.put(order)
        await scene.bus.report(Started, order.attempt)
        await acknowledged(scene.bus.put(order, redelivered=True))

    assert scene.began(order) == 1
    assert not [report for report in scene.bus.reports if isinstance(report, Claim)]


async def test_a_second_delivery_of_what_ended_here_is_acknowledged() -> None:
    scene, order = Scene(), an_order()
    async with scene.running():
        await acknowledged(scene.bus.put(order))
        await acknowledged(scene.bus.put(order, redelivered=True))

    assert scene.began(order) == 1


async def test_a_cancelled_attempt_ends_as_cancelled() -> None:
    scene = Scene()
    order = scene.lasting()
    async with scene.running():
        scene.bus.put(order)
        await scene.bus.report(Started, order.attempt)
        scene.bus.tell(CancelAttempts(attempts=(order.attempt,)))
        completed = await scene.bus.report(Completed, order.attempt)

    assert completed.outcome == AttemptState.CANCELLED


async def test_a_message_that_is_no_order_is_acknowledged_and_the_next_one_served() -> None:
    scene = Scene()
    async with scene.running():
        await acknowledged(scene.bus.put(b"\x00\xffnonsense"))
        await acknowledged(scene.bus.put(an_order()))


async def test_an_order_that_can_not_be_served_is_released_with_the_reason() -> None:
    scene = Scene()
    order = an_order().model_copy(update={"step": b"{}"})
    async with scene.running():
        delivery = scene.bus.put(order)
        released = await scene.bus.report(Released, order.attempt)
        await acknowledged(delivery)

    assert "not a step: name" in released.reason


async def test_an_error_of_the_launcher_is_logged_without_the_secrets_that_it_held(capsys: pytest.CaptureFixture[str]) -> None:
    class BrokenLauncher(MemoryLauncher):
        @override
        async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
            secret = "c4nary"  # to be looked for
            raise OSError(f"no file after {len(secret)}")

    scene = Scene()
    scene.runner = Runner(scene.bus, BrokenLauncher({}, lambda _: 0.0), Identity(name="r-1", incarnation="i-1", pools={"cpu": 1}))
    structlog.reset_defaults()
    async with scene.running():
        await acknowledged(scene.bus.put(an_order()))

    told = "".join(capsys.readouterr())
    assert "no file after 6" in told
    assert "c4nary" not in told.replace('secret = "c4nary"', "")
    assert isinstance(scene.bus.reports[0], Released)


async def test_a_lost_connection_kills_no_work_and_what_runs_is_said_first() -> None:
    scene = Scene(slots=2)
    order, later = scene.lasting(), an_order()
    async with scene.running():
        await acknowledged(scene.bus.put(order))
        scene.bus.reports.clear()
        scene.bus.loss.set()
        await scene.bus.refused.wait()
        scene.bus.put(later)
        scene.bus.loss.clear()
        await scene.bus.report(Completed, later.attempt)

        assert isinstance(scene.bus.reports[0], Started)
        assert scene.bus.reports[0].attempt == order.attempt
        assert scene.began(order) == 1


async def test_a_completion_is_repeated_until_the_bus_takes_it() -> None:
    scene, order = Scene(), an_order()

    def cutting(order: Order) -> Mapping[str, Value]:
        scene.bus.loss.set()
        return one(order)

    scene.launcher = MemoryLauncher({"main": cutting})
    scene.runner = Runner(scene.bus, scene.launcher, Identity(name="r-1", incarnation="i-1", pools={"cpu": 1}), pace=scene.pace)
    async with scene.running():
        delivery = scene.bus.put(order)
        await scene.bus.refused.wait()
        assert not delivery.done.is_set()
        scene.bus.loss.clear()
        await scene.bus.report(Completed, order.attempt)


async def test_draining_finishes_what_was_begun_and_takes_nothing_more() -> None:
    scene = Scene(slots=2)
    order = scene.lasting(0.2)
    async with scene.running() as task:
        await acknowledged(scene.bus.put(order))
        scene.runner.drain()
        late = scene.bus.put(an_order())
        await task

    assert [type(report) for report in scene.bus.reports] == [Started, Completed]
    assert not late.done.is_set()


async def test_reports_of_one_moment_travel_together() -> None:
    scene = Scene(slots=8)
    async with scene.running():
        for delivery in [scene.bus.put(an_order()) for _ in range(64)]:
            await acknowledged(delivery)

    assert sum(scene.bus.batches) == 64
    assert max(scene.bus.batches) >= 4


async def test_a_completion_too_large_for_a_message_fails_with_what_to_do() -> None:
    scene, order = Scene(), an_order()
    outputs = {f"o{i}": inline("x" * 4000) for i in range(60)}
    scene.launcher = MemoryLauncher({"main": lambda _: outputs})
    scene.runner = Runner(scene.bus, scene.launcher, Identity(name="r-1", incarnation="i-1", pools={"cpu": 1}), pace=scene.pace)
    async with scene.running():
        scene.bus.put(order)
        completed = await scene.bus.report(Completed, order.attempt)

    assert completed.outcome == AttemptState.FAILED
    assert completed.failure is not None
    assert "return a list" in completed.failure.message


def _rewritten(order: Order, **fields: object) -> bytes:
    """The order as another version of Penstock might send it."""
    key, payload, mac = msgpack.unpackb(encode(order))
    return bytes(msgpack.packb([key, msgpack.packb(msgpack.unpackb(payload) | fields), mac]))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": 2, "step": {"of": "another kind"}}, "does not understand orders of version 2: upgrade it"),
        ({"slots": "many"}, "does not understand the order: message 'order' is malformed"),
    ],
    ids=["future", "malformed"],
)
async def test_an_order_that_is_not_understood_is_given_back_with_the_reason(fields: dict[str, object], reason: str) -> None:
    scene, order, next_one = Scene(), an_order(), an_order()
    async with scene.running():
        delivery = scene.bus.put(_rewritten(order, **fields))
        released = await scene.bus.report(Released, order.attempt)
        await acknowledged(delivery)
        scene.bus.put(next_one)
        await scene.bus.report(Completed, next_one.attempt)

    assert reason in released.reason
    assert released.token == order.token
    assert not delivery.is_refused
    assert not scene.began(order)


@pytest.mark.parametrize(
    "body",
    [b"nonsense", encode(CancelAttempts(attempts=())), _rewritten(an_order(), version=2, attempt=[1, 1, 0, 1])],
    ids=["nonsense", "another type", "no attempt"],
)
async def test_what_is_no_order_at_all_becomes_a_dead_letter(body: bytes) -> None:
    scene, next_one = Scene(), an_order()
    async with scene.running():
        delivery = scene.bus.put(body)
        await acknowledged(delivery)
        scene.bus.put(next_one)
        await scene.bus.report(Completed, next_one.attempt)

    assert delivery.is_refused


class FussyBus(QueueBus):
    """A bus that takes neither a report with a large output nor the first heartbeats."""

    def __init__(self) -> None:
        super().__init__()
        self.refused_beats = 0

    @override
    async def publish(self, envelope: Envelope) -> None:
        if envelope.exchange is Exchange.VITALS and self.refused_beats < 2:
            self.refused_beats += 1
            raise ContractError("a heartbeat that nobody takes")
        if len(envelope.body) > 2_500:
            raise ContractError("a message of 999 bytes is over the limit")
        await super().publish(envelope)


async def test_a_report_that_no_bus_takes_ends_as_a_failed_attempt_and_the_runner_goes_on() -> None:
    enormous, other = an_order(), an_order()

    def work(order: Order) -> Mapping[str, Value]:
        return {"result": inline("x" * (3_000 if order.attempt == enormous.attempt else 1))}

    scene = Scene(slots=2, bus=FussyBus(), work=work)
    async with scene.running() as running:
        for order in (enormous, other):
            scene.bus.put(order)
        failed = await scene.bus.report(Completed, enormous.attempt)
        succeeded = await scene.bus.report(Completed, other.attempt)
        async with asyncio.timeout(10), scene.bus.changed:
            await scene.bus.changed.wait_for(lambda: scene.bus.heartbeats)
        assert not running.done()

    assert failed.outcome is AttemptState.FAILED
    assert failed.failure is not None
    assert failed.failure.message == "how it ended can't be told: a message of 999 bytes is over the limit"
    assert succeeded.outcome is AttemptState.SUCCEEDED
