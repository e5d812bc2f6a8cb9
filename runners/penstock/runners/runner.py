"""The runner: takes orders from its pools' queues, has them executed, reports. It speaks the protocol and knows nothing of user code.

A young step's delivery stays in the broker's care: it is acknowledged once the completion is confirmed, and if the runner dies it is
delivered again at once. An older step is *held*: reported as started, acknowledged, and from then on kept alive by heartbeats.
"""

import asyncio
import contextlib
import functools
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.errors import BusUnavailable, ContractError, UnknownVersion
from penstock.contracts.messages import (
    COMMAND_LIMIT,
    AttemptKey,
    Completed,
    DrainRunner,
    Order,
    Progress,
    Released,
    Started,
    clean_text,
    decode,
)
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import AttemptState
from penstock.contracts.unread_orders import read_unread_order
from penstock.runners.completion import KeptLogs
from penstock.runners.hearing import Hearing
from penstock.runners.launcher import Launcher
from penstock.runners.log_feed import LogFeed
from penstock.runners.presence import Identity, Presence
from penstock.runners.reporting import Reporter
from penstock.runners.slots import Seat, Slots
from penstock.runners.steps import StepCache
from penstock.transport.bus import Bus, Consumer, Delivery, work_queue

_log = structlog.get_logger(__name__)
_PROGRESS_CHARACTERS = 200
_REMEMBERED = 4096
"""Finished and cancelled attempts that a late delivery is recognised for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """In seconds of the event loop's time."""

    young: float = 3.0
    """So long a delivery stays unacknowledged."""
    heartbeat: float = 5.0
    reconnect: float = 0.5
    doubt: float = 90.0
    """So long after a lane was begun to serve, or could not be, its first deliveries may be of attempts that are over: they are claimed."""


V = TypeVar("V")


def with_memory(step: StepSpec, order: Order) -> StepSpec:
    """The step with what its order lets it use."""
    if order.memory_bytes is None:
        return step
    return step.model_copy(update={"resources": step.resources.model_copy(update={"memory_bytes": order.memory_bytes})})


async def _stop(consumer: Consumer) -> None:
    # Where the connection is lost, its iteration ends too.
    with contextlib.suppress(BusUnavailable):
        await consumer.stop()


def _remember(known: OrderedDict[AttemptKey, V], attempt: AttemptKey, value: V) -> None:
    known[attempt] = value
    if len(known) > _REMEMBERED:
        known.popitem(last=False)


@dataclass(slots=True, eq=False)
class _Held:
    """An order that this runner has begun, under the attempt that it may run under."""

    order: Order
    seat: Seat
    progress: Progress | None = None
    executing: "asyncio.Task[Completed] | None" = None
    is_cancelled: bool = False


class Runner:
    """`run` works until `drain` was called and everything begun has ended. Where a message asks to
    drain, `on_drain` is called instead if it is given: whoever drains may have more to end than a runner.

    `feed` and `logs` are the launcher's.
    """

    def __init__(
        self,
        bus: Bus,
        launcher: Launcher,
        identity: Identity,
        *,
        pace: Pace = Pace(),
        on_drain: Callable[[], None] | None = None,
        feed: LogFeed | None = None,
        logs: KeptLogs | None = None,
    ) -> None:
        self._bus = bus
        self._launcher = launcher
        self._identity = identity
        self._name = identity.name
        self._pools = identity.pools
        self._pace = pace
        self._reporter = Reporter(bus)
        self._on_drain = on_drain or self.drain
        self._feed = feed or LogFeed(bus)
        self._logs = logs
        self._hearing = Hearing(bus, self._reporter, identity, self._cancel, self._asked_to_drain, self._feed.follow)
        self._steps = StepCache()
        self._held: dict[AttemptKey, _Held] = {}
        self._finished: OrderedDict[AttemptKey, Completed | Released | None] = OrderedDict()
        """With what was told of them."""
        self._idle: dict[asyncio.Task[Any] | None, tuple[str, Consumer | None]] = {}
        """Slots that wait for an order, with their pool and consumer."""
        self._slots = {pool: Slots(count, functools.partial(self._make_room, pool)) for pool, count in self._pools.items()}
        self._leaving: set[asyncio.Task[None]] = set()
        self._said_sizes: set[tuple[str, int]] = set()
        self._unwanted: OrderedDict[AttemptKey, None] = OrderedDict()
        """Attempts that were cancelled before their orders came."""
        self._is_draining = False
        self._presence = Presence(
            bus,
            identity,
            held=lambda: tuple(self._held),
            progress=lambda: self.progress,
            beat_seconds=pace.heartbeat,
            doubt_seconds=pace.doubt,
        )
        self._announcing = asyncio.Lock()
        self._announced_at = -1.0

    async def run(self) -> None:
        """Returns when `drain` was called and everything that was begun has ended. Cancelled, it stops what runs and reports nothing."""
        async with asyncio.TaskGroup() as background:
            work = (self._reporter.run(), self._hearing.run(), self._presence.run(), self._feed.run())
            others = [background.create_task(one) for one in work]
            await self._hearing.listening()
            async with asyncio.TaskGroup() as slots:
                for pool, count in self._pools.items():
                    for _ in range(count):
                        slots.create_task(self._serve(pool))
            for task in others:
                task.cancel()

    def drain(self) -> None:
        """Takes no more orders; what was begun goes on to its end."""
        self._is_draining = True
        self._presence.leave()
        for slot in self._idle:
            if slot is not None:
                slot.cancel()

    def _asked_to_drain(self, message: DrainRunner) -> None:
        if message.runner == self._name or (message.runner is None and message.pool in self._pools):
            _log.info("runner.asked_to_drain", runner=message.runner, pool=message.pool)
            self._on_drain()

    async def _serve(self, pool: str) -> None:
        """One slot."""
        seat = Seat(self._slots[pool])
        while not self._is_draining:
            try:
                await seat.hold(1)
                await self._consume(pool, seat)
            except BusUnavailable as error:
                _log.warning("queue.lost", pool=pool, reason=str(error))
                await self._reannounce()
            finally:
                seat.leave()

    def _make_room(self, pool: str, count: int) -> None:
        """An order needs slots of the pool: so many that wait for orders stop doing so."""
        consumers = [consumer for of, consumer in self._idle.values() if of == pool and consumer is not None]
        for consumer in consumers[:count]:
            task = asyncio.get_running_loop().create_task(_stop(consumer))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _consume(self, pool: str, seat: Seat) -> None:
        """Executes orders of the pool or lane until one lasts; then it waits for that one without being a consumer."""
        lasting: asyncio.Task[None] | None = None
        slot = asyncio.current_task()
        if not self._takes_orders(seat):
            return
        self._idle[slot] = (pool, None)
        try:
            async with self._bus.consume(work_queue(self._identity.workspace, pool), prefetch=1) as consumer:
                self._presence.opened(pool)
                if not self._takes_orders(seat):
                    return
                self._idle[slot] = (pool, consumer)
                async for delivery in consumer:
                    del self._idle[slot]
                    lasting = await self._handle(delivery, consumer, seat)
                    if lasting is not None or not self._takes_orders(seat):
                        break
                    self._idle[slot] = (pool, consumer)
        except BusUnavailable:
            # A lost connection kills no work.
            if lasting is None:
                raise
        except BaseException:
            if lasting is not None:
                lasting.cancel()
            raise
        finally:
            self._idle.pop(slot, None)
        if lasting is not None:
            await lasting

    def _takes_orders(self, seat: Seat) -> bool:
        return seat.held > 0 and not self._is_draining and not seat.slots.is_wanted

    async def _handle(self, delivery: Delivery, consumer: Consumer, seat: Seat) -> "asyncio.Task[None] | None":
        """Deals with one delivery to its acknowledgement; the answer is a step that goes on after it."""
        try:
            order = await self._wanted(delivery)
        except ContractError as error:
            await self._turn_away(delivery, error)
            return None
        if order is None:
            await delivery.acknowledge()
            return None
        held = self._held[order.attempt] = _Held(order, seat)
        work = asyncio.get_running_loop().create_task(self._work(held))
        try:
            await asyncio.wait((work,), timeout=self._pace.young)
            if not work.done():
                await self._reporter.send(self._started(order))
                with contextlib.suppress(BusUnavailable):
                    await consumer.stop()
        except BaseException:
            work.cancel()
            raise
        await delivery.acknowledge()
        if not work.done():
            return work
        work.result()
        return None

    async def _wanted(self, delivery: Delivery) -> Order | None:
        """The order to execute, under the attempt to execute it under; None where there is nothing to do.

        :raises ContractError: it can't be understood.
        """
        order = decode(delivery.body, COMMAND_LIMIT)
        if not isinstance(order, Order):
            raise ContractError(f"a message of type {order.type} is in a queue of orders")
        if order.attempt in self._held:
            await self._reporter.send(self._started(self._held[order.attempt].order))
            return None
        if order.attempt in self._finished:
            # It comes again where the coordinator has not heard how it ended.
            if (told := self._finished[order.attempt]) is not None:
                await self._reporter.send(told)
            return None
        if self._is_draining:
            await self._reporter.send(self._released(order, "the runner is draining"))
            return None
        is_first = not (delivery.redelivered or order.must_claim)
        if is_first and not self._presence.may_be_over(order):
            return order
        # From here on a second delivery of the order is known as ours.
        self._finish(order.attempt)
        answer = await self._hearing.claim(order, is_first=is_first)
        if not answer.granted:
            return None
        return order.model_copy(update={"attempt": answer.attempt or order.attempt, "token": answer.token or order.token})

    async def _turn_away(self, delivery: Delivery, error: ContractError) -> None:
        """What this runner does not understand: whoever waits for it is told, and where that can't be known it becomes a dead letter."""
        _log.error("order.not_understood", reason=str(error))
        if (unread := read_unread_order(delivery.body)) is None:
            await delivery.refuse()
            return
        software = f" (Penstock {self._identity.machine.software})" if self._identity.machine.software else ""
        reason = f"this runner{software} does not understand orders of version {unread.version}: upgrade it"
        if not isinstance(error, UnknownVersion):
            reason = f"this runner{software} does not understand the order: {error}"
        released = Released(attempt=unread.attempt, token=unread.token, runner=self._name, reason=clean_text(reason))
        await self._reporter.send(released)
        await delivery.acknowledge()

    async def _work(self, held: _Held) -> None:
        """Executes an order, and returns when the bus has taken the report of its end."""
        attempt = held.order.attempt
        try:
            outcome = await self._outcome(held)
            await self._reporter.send(outcome)
            self._finish(attempt, outcome)
        finally:
            del self._held[attempt]

    async def _outcome(self, held: _Held) -> Completed | Released:
        order = held.order
        if order.attempt in self._unwanted:
            return self._cancelled(order)
        if order.slots > held.seat.slots.count:
            return self._released(order, f"it needs {order.slots} slots, and this runner has {held.seat.slots.count} for {order.pool}")
        try:
            step = self._steps.step(order.step)
        except ContractError as error:
            return self._released(order, str(error))
        self._compare_size(order)
        held.executing = asyncio.get_running_loop().create_task(self._execute(held, step))
        try:
            completed = await held.executing
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if not held.is_cancelled or (this is not None and this.cancelling()):
                raise
            return self._cancelled(order, await self._logs.of(order, step.name) if self._logs is not None else None)
        except Exception as error:  # noqa: BLE001  # whatever a launcher raises, the order goes back
            # As text: structlog shows the local variables of frames that it is given, and secrets are among them.
            _log.error("attempt.not_executed", run=order.run_name, step=step.name, exception=traceback.format_exc())
            return self._released(order, f"it could not be executed here: {type(error).__name__}: {error}")
        finally:
            held.executing = None
        return completed.model_copy(update={"runner": self._name})

    async def _execute(self, held: _Held, step: StepSpec) -> Completed:
        order = held.order
        await held.seat.hold(order.slots)
        try:
            return await self._launcher.execute(order, with_memory(step, order), functools.partial(self._progressed, held))
        finally:
            held.seat.shrink(1)

    def _compare_size(self, order: Order) -> None:
        """Says once where this runner has another number of slots than its pool is defined with."""
        defined, slots = order.slots_per_runner, self._pools.get(order.pool)
        if defined is not None and slots is not None and slots != defined and (order.pool, defined) not in self._said_sizes:
            self._said_sizes.add((order.pool, defined))
            _log.warning("pool.defined_otherwise", pool=order.pool, slots=slots, slots_per_runner=defined)

    @property
    def progress(self) -> tuple[Progress, ...]:
        """How far its attempts are, as far as their steps say. May be asked from any thread."""
        return tuple(held.progress for held in list(self._held.values()) if held.progress is not None)

    def _progressed(self, held: _Held, done: float, total: float | None, text: str) -> None:
        held.progress = Progress(attempt=held.order.attempt, done=done, total=total, text=clean_text(text, _PROGRESS_CHARACTERS))

    def _cancel(self, attempt: AttemptKey) -> None:
        held = self._held.get(attempt)
        if held is None:
            _remember(self._unwanted, attempt, None)
        # One that has ended by itself is reported as it ended.
        elif held.executing is not None and not held.is_cancelled:
            held.is_cancelled = True
            held.executing.cancel()

    def _finish(self, attempt: AttemptKey, told: Completed | Released | None = None) -> None:
        _remember(self._finished, attempt, told)

    async def _reannounce(self) -> None:
        """After the connection was lost: what still runs is said first, by one of the slots for all of them."""
        lost_at = asyncio.get_running_loop().time()
        self._presence.doubt()
        await asyncio.sleep(self._pace.reconnect)
        async with self._announcing:
            if self._announced_at <= lost_at:
                for taken in [self._reporter.send(self._started(held.order)) for held in self._held.values()]:
                    await taken
                self._announced_at = asyncio.get_running_loop().time()

    def _started(self, order: Order) -> Started:
        return Started(attempt=order.attempt, token=order.token, runner=self._name)

    def _cancelled(self, order: Order, log: ArtifactRef | None = None) -> Completed:
        return Completed(attempt=order.attempt, token=order.token, runner=self._name, outcome=AttemptState.CANCELLED, log=log)

    def _released(self, order: Order, reason: str) -> Released:
        return Released(attempt=order.attempt, token=order.token, runner=self._name, reason=clean_text(reason))
