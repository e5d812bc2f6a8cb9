"""A coordinator's upkeep, once a second: timers that are due, orders that were not sent, runners that are gone."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from penstock.contracts.errors import BusUnavailable, ContractError, StoreUnavailable
from penstock.contracts.messages import AttemptKey, Heartbeat, Order, Tick, decode, encode
from penstock.engine.batch import Chore, chores_left
from penstock.engine.core.lanes import Lanes
from penstock.engine.core.wants import Begin, Fact, Lost, Recount
from penstock.engine.dispatcher import Dispatcher
from penstock.engine.flights import awaited_owners, end_flights
from penstock.engine.lanes import LaneWatch
from penstock.engine.presence import Presence
from penstock.engine.store import Store
from penstock.engine.timers import due, live_attempts
from penstock.engine.unbegun import unbegun
from penstock.engine.vain import Doubts, in_vain
from penstock.transport.bus import Bus, Envelope, Exchange

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.coordinator")

TICK_SECONDS = 1.0
UNSENT_MICROSECONDS = 2_000_000
"""An attempt that was committed and not sent for so long is sent again."""


@dataclass(frozen=True, slots=True)
class Duties:
    """What upkeep asks of its coordinator."""

    tell: Callable[[int, Fact], object]
    send: Callable[[Order], Awaitable[None]]
    cancel: Callable[[Sequence[AttemptKey]], Awaitable[None]]
    is_pending: Callable[[AttemptKey], bool]
    """Whether the order was just sent, which the store does not know yet."""
    is_busy: Callable[[Chore], bool]
    """Whether this coordinator is doing that chore."""
    set_slots: Callable[[str, dict[str, int], str], None]
    """Of a runner, for a workspace."""
    next_timer: Callable[[], int | None]
    wake: Callable[[], None]
    is_gone: Callable[[str], bool]
    """Whether a process that owned runs is gone for good."""


class Upkeep:
    """`name` tells this coordinator's ticks from others'."""

    def __init__(
        self, name: str, bus: Bus, store: Store, dispatcher: Dispatcher, duties: Duties, now: Callable[[], int], patience: float
    ) -> None:
        self._name = name
        self._bus = bus
        self._store = store
        self._dispatcher = dispatcher
        self._duties = duties
        self._now = now
        self._patience = int(patience * 1_000_000)
        """A sent order that no heartbeat names for so long is sent again."""
        self._presence: Presence[tuple[AttemptKey, bool]] = Presence(patience=patience)
        """With whether it is begun: what waited long in a queue has the whole patience from its beginning on."""
        self._runners: Presence[str] = Presence(patience=patience)
        self._lanes = LaneWatch(store, duties.tell, patience)
        self._doubts = Doubts()
        self._known: set[str] = set()
        self._is_early = asyncio.Event()
        self._looks_at = 0
        self._left: set[Chore] = set()
        """Chores that were there at the last look."""

    async def tick(self) -> None:
        """Ticks until it is cancelled."""
        loop = asyncio.get_running_loop()
        last_vital = -TICK_SECONDS
        while True:
            if loop.time() - last_vital >= TICK_SECONDS:
                last_vital = loop.time()
                await self._send_tick(last_vital)
            try:
                await self._look()
            except StoreUnavailable as error:
                log.warning("store.unavailable", reason=str(error))
            except Exception:
                # The next look may go better; without any, nobody would be found lost.
                log.exception("upkeep.failed")
            self._duties.wake()
            await self._rest()

    @property
    def lanes(self) -> Lanes:
        """The lanes that runners serve now, as far as this coordinator heard."""
        return self._lanes.served

    def timers_changed(self) -> None:
        """There may be a timer that fires before the next look."""
        next_timer = self._duties.next_timer()
        if next_timer is not None and next_timer < self._looks_at:
            self._is_early.set()

    async def _rest(self) -> None:
        """Until the next timer that is known, or one becomes known that is earlier."""
        pause = self._pause()
        self._looks_at = self._now() + int(pause * 1_000_000)
        self._is_early.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._is_early.wait()

    def _pause(self) -> float:
        """Until the next timer, a second at most."""
        next_timer = self._duties.next_timer()
        if next_timer is None:
            return TICK_SECONDS
        return min(TICK_SECONDS, max(0.005, (next_timer - self._now()) / 1_000_000))

    async def _send_tick(self, at: float) -> None:
        try:
            await self._bus.publish(Envelope(exchange=Exchange.VITALS, key="tick", body=encode(Tick(coordinator=self._name, sent_at=at))))
        except BusUnavailable as error:
            log.warning("publish.failed", exchange=Exchange.VITALS.value, reason=str(error))

    async def _look(self) -> None:
        now, owner = self._now(), self._dispatcher.owner
        for run_no, fact in await self._store.read(lambda connection: due(connection, now, owner)):
            self._duties.tell(run_no, fact)
        for run_no in await self._store.read(lambda connection: unbegun(connection, owner, now)):
            self._duties.tell(run_no, Begin())
        live = await self._store.read(lambda connection: live_attempts(connection, self._dispatcher.incarnation or None))
        unheld = dict(self._presence.lost(live.items()))
        for attempt, may_be_lost in unheld.items():
            if may_be_lost:
                self._duties.tell(attempt.run_no, Lost((attempt.step_no, attempt.item_no), attempt.attempt_no))
        await self._stop_what_is_in_vain(live)
        await self._send_again(now, set(unheld))
        await self._end_flights_of_the_dead(owner)
        self._forget_runners()
        if owner is None:
            await self._lanes.look()
        await self._take_up_chores(owner)

    async def _stop_what_is_in_vain(self, live: Collection[AttemptKey]) -> None:
        """The message that was to stop it was lost, or whoever was to send it."""
        doubtful = self._doubts.take(live, asyncio.get_running_loop().time())
        if doubtful:
            await self._duties.cancel(await self._store.read(lambda connection: in_vain(connection, doubtful)))

    async def _end_flights_of_the_dead(self, owner: str | None) -> None:
        if owner is None:
            return
        owners = await self._store.read(lambda connection: awaited_owners(connection, owner))
        gone = [other for other in owners if self._duties.is_gone(other)]
        if gone:
            for run_no, fact in await self._store.transaction(lambda connection: end_flights(connection, gone)):
                self._duties.tell(run_no, fact)

    def _forget_runners(self) -> None:
        """What a runner that is gone offered is offered no more."""
        for runner in self._runners.lost(self._known):
            self._known.discard(runner)
            self._duties.set_slots(runner, {}, "")
            self._lanes.forget(runner)

    async def _take_up_chores(self, owner: str | None) -> None:
        """Whoever was to do these has died in between, or could not reach the store."""
        left = set(await self._store.read(lambda connection: chores_left(connection, owner)))
        orphaned = {chore.run_no for chore in left & self._left if not self._duties.is_busy(chore)}
        self._left = left
        for run_no in sorted(orphaned):
            self._duties.tell(run_no, Recount())

    async def _send_again(self, now: int, unheld: set[AttemptKey]) -> None:
        before = (now - UNSENT_MICROSECONDS, now - self._patience)
        orders = await self._store.read(lambda connection: self._dispatcher.unsent(connection, *before))
        for order, was_sent in orders:
            if not self._duties.is_pending(order.attempt) and (not was_sent or order.attempt in unheld):
                log.info("order.sent_again", run_id=order.run_id, attempt=order.attempt.model_dump())
                # Nobody knows whether the first one arrived: whoever gets this one asks before it begins.
                await self._duties.send(order.model_copy(update={"must_claim": True}))

    async def listen(self) -> None:
        """Hears heartbeats and its own ticks until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with self._bus.listen(Exchange.VITALS) as listener:
                    async for body in listener:
                        self._hear(body, loop.time())
            except BusUnavailable:
                await asyncio.sleep(TICK_SECONDS)

    def _hear(self, body: bytes, at: float) -> None:
        try:
            message = decode(body)
        except ContractError as error:
            log.warning("heartbeat.refused", reason=str(error))
            return
        match message:
            case Tick() if message.coordinator == self._name:
                self._presence.tick_returned(message.sent_at)
                self._runners.tick_returned(message.sent_at)
                self._lanes.tick_returned(message.sent_at)
            case Heartbeat():
                self._doubts.heard(message.attempts)
                self._presence.heard(((attempt, is_begun) for attempt in message.attempts for is_begun in (True, False)), at)
                self._runners.heard([message.runner], at)
                self._known.add(message.runner)
                self._duties.set_slots(message.runner, message.pools, message.workspace)
                self._lanes.heard(message)
            case _:
                pass
