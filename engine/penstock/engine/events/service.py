"""The event service: takes events in, has triggers decide them, begins the runs that they make. Any number may serve one store and bus.

What was delivered is acknowledged once it is kept. Whatever is left undone by a crash is found in the rows a second later.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection

from penstock.contracts.cloud_events import ReceivedEvent
from penstock.contracts.errors import BusUnavailable, ContractError, StoreUnavailable
from penstock.engine.events.deciding import AT_ONCE, decide, decide_new, take_in
from penstock.engine.events.fetching import Fetching
from penstock.engine.events.intake import store_events
from penstock.engine.events.mappings import all_mappings
from penstock.engine.events.observations import EventObservations, Unobserved
from penstock.engine.events.plain_messages import NO_MAPPINGS
from penstock.engine.events.received import received
from penstock.engine.events.records import Decided, note_failure, undecided
from penstock.engine.events.refusals import keep_refused
from penstock.engine.events.starts import begin_due
from penstock.engine.events.upkeep import has_new, looks_due
from penstock.engine.store import Store
from penstock.transport.bus import INGEST, Bus, Delivery

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.events")

T = TypeVar("T")
PREFETCH = 300
PAUSE_SECONDS = 1.0
"""Between two tries to reach a store or a bus that is away."""

Told = tuple[Delivery, list[ReceivedEvent]]
"""A delivery, and the events that it tells."""
Begin = Callable[[int], object]
"""Has a run begin, by its number."""
Work = Callable[[], Coroutine[Any, Any, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSettings:
    """`workspace` is whose events are that name none. `owner`: the process whose runs the new ones are, where several share a store.
    `others`: what else goes on for as long as the service runs."""

    workspace: str = "default"
    owner: str | None = None
    tick_seconds: float = 1.0
    pause_seconds: float = PAUSE_SECONDS
    observations: EventObservations = field(default_factory=Unobserved)
    others: Sequence[Work] = ()


class EventService:
    """`begin` hears of every run that was made. `fetching` brings data that events name; None: there is none to be had."""

    def __init__(
        self, bus: Bus, store: Store, settings: EventSettings, now: Callable[[], int], begin: Begin, fetching: Fetching | None = None
    ) -> None:
        self._bus = bus
        self._store = store
        self._settings = settings
        self._now = now
        self._begin = begin
        self._fetching = fetching
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue(PREFETCH * 2)
        self._mappings = NO_MAPPINGS
        self._is_early = asyncio.Event()
        self._is_draining = asyncio.Event()
        self._starts_wait = False
        """Whether something was decided to wait, as far as this service knows."""
        self._looks_at = 0.0
        """When the next look is due, by the loop's clock."""

    async def run(self) -> None:
        """Serves until it is cancelled, or `drain` was called and what was being decided is committed and acknowledged."""
        while not self._is_draining.is_set():
            try:
                await self._serve()
            except Exception:
                # What was in its hands is delivered again. Whoever serves beside it goes on.
                log.exception("events.failed")
                await asyncio.sleep(self._settings.pause_seconds)

    async def _serve(self) -> None:
        self._arrived = asyncio.Queue(PREFETCH * 2)
        async with asyncio.TaskGroup() as tasks:
            lasting = [self._take_in(), self._tick(tasks), *(work() for work in self._settings.others)]
            others = [tasks.create_task(one) for one in lasting]
            await self._work()
            for task in others:
                task.cancel()
            if self._fetching is not None:
                self._fetching.stop()

    def drain(self) -> None:
        """Has `run` end after the batch that is under way; what was not begun is delivered to others."""
        self._is_draining.set()

    def wake(self) -> None:
        """There may be new events in the rows."""
        self._is_early.set()

    def runs_ended(self) -> None:
        """There may be places for starts that wait."""
        if self._starts_wait:
            self._looks_at = 0.0
            self._is_early.set()

    # What is delivered

    async def _take_in(self) -> None:
        while True:
            try:
                async with self._bus.consume(INGEST, prefetch=PREFETCH) as deliveries:
                    async for delivery in deliveries:
                        await self._arrived.put(delivery)
            except BusUnavailable as error:
                log.warning("bus.lost", reason=str(error))
            await asyncio.sleep(self._settings.pause_seconds)

    async def _work(self) -> None:
        while (deliveries := await self._batch()) is not None:
            events, unreadable = self._read(deliveries)
            if unreadable:
                # A mapping may have been declared for them since.
                await self._refresh_mappings()
                events, unreadable = self._read(deliveries)
            refused = await self._keep(events) if any(some for _, some in events) else []
            if not all(some for _, some in events):
                # Somebody has rung.
                self.wake()
            lost = await self._keep_refused(unreadable)
            for delivery in deliveries:
                if delivery in refused or delivery in lost:
                    await delivery.refuse()
                else:
                    await delivery.acknowledge()

    async def _batch(self) -> list[Delivery] | None:
        """What has arrived, once something has; None: it is over."""
        getting, ending = asyncio.ensure_future(self._arrived.get()), asyncio.ensure_future(self._is_draining.wait())
        try:
            await asyncio.wait((getting, ending), return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                return None
            batch = [getting.result()]
        finally:
            getting.cancel()
            ending.cancel()
        while len(batch) < AT_ONCE and not self._arrived.empty():
            batch.append(self._arrived.get_nowait())
        return batch

    async def _refresh_mappings(self) -> None:
        """Messages of every workspace come by one queue."""
        with contextlib.suppress(StoreUnavailable):
            self._mappings = await self._store.read(all_mappings)

    def _read(self, deliveries: Sequence[Delivery]) -> tuple[list[Told], list[tuple[Delivery, str]]]:
        """Deliveries with their events, and those that nobody can read, with the reason. An empty one says that there are new rows."""
        events: list[Told] = []
        unreadable: list[tuple[Delivery, str]] = []
        for delivery in deliveries:
            try:
                events.append((delivery, received(delivery, self._now(), self._settings.workspace, self._mappings)))
            except ContractError as error:
                unreadable.append((delivery, str(error)))
        return events, unreadable

    async def _keep_refused(self, unreadable: Sequence[tuple[Delivery, str]]) -> list[Delivery]:
        """Keeps what nobody can read, with the reason; returns what can't even be kept."""
        if not unreadable:
            return []
        for delivery, reason in unreadable:
            log.warning("event.refused", reason=reason, size=len(delivery.body))
        try:
            await self._insistently(lambda connection: keep_refused(connection, unreadable, self._now(), self._settings.workspace))
        except Exception:
            log.exception("event.not_kept", deliveries=len(unreadable))
            return [delivery for delivery, _ in unreadable]
        return []

    async def _keep(self, events: Sequence[Told]) -> list[Delivery]:
        """Keeps and decides these; returns the deliveries that can't be kept. Does not return before the rest is kept."""
        all_events = [event for _, some in events for event in some]
        try:
            decided = await self._insistently(partial(take_in, received=all_events, now=self._now(), owner=self._settings.owner))
        except Exception as error:  # noqa: BLE001 - one poisonous event must not stop the others
            log.warning("events.divided", reason=repr(error), events=len(all_events))
            return await self._keep_alone(events)
        self._tell(decided)
        return []

    async def _keep_alone(self, events: Sequence[Told]) -> list[Delivery]:
        """What is kept alone is decided alone, by who looks at the rows."""
        refused: list[Delivery] = []
        for delivery, some in events:
            try:
                await self._insistently(partial(store_events, received=some))
            except Exception:
                log.exception("event.refused", size=len(delivery.body))
                refused.append(delivery)
        self.wake()
        return refused

    # What is in the rows

    async def _tick(self, tasks: asyncio.TaskGroup) -> None:
        """Looks at the rows once a second, or when it is told to."""
        loop = asyncio.get_running_loop()
        while not self._is_draining.is_set():
            self._is_early.clear()
            try:
                await self._decide_left()
                if loop.time() >= self._looks_at:
                    self._looks_at = loop.time() + self._settings.tick_seconds
                    await self._look()
                    await self._refresh_mappings()
                if self._fetching is not None:
                    self._fetching.start(tasks, self._tell)
            except StoreUnavailable as error:
                log.warning("store.unavailable", reason=str(error))
            except Exception:
                # The next look may go better.
                log.exception("events.upkeep_failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._looks_at - loop.time())):
                    await self._is_early.wait()

    async def _look(self) -> None:
        """At times, held events and starts that are due."""
        looks = await self._store.read(lambda connection: looks_due(connection, self._now()))
        self._starts_wait = begin_due in looks
        for look in looks:
            try:
                self._tell(await self._store.transaction(partial(look, now=self._now(), owner=self._settings.owner)))
            except StoreUnavailable:
                raise
            except Exception:
                # What is odd about some must not keep the others from their turn.
                log.exception("events.upkeep_failed")

    async def _decide_left(self) -> None:
        """Decides what was kept and not decided: by the API, by hand, or before a crash."""
        while await self._store.read(has_new):
            try:
                decided = await self._store.transaction(lambda connection: decide_new(connection, self._now(), self._settings.owner))
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one poisonous event must not stop the others
                log.warning("events.divided", reason=repr(error))
                await self._decide_alone()
                return
            self._tell(decided)
            if decided.events < AT_ONCE:
                return

    async def _decide_alone(self) -> None:
        for event_no in await self._store.read(undecided):
            try:
                decision = partial(decide, event_nos=[event_no], now=self._now(), owner=self._settings.owner)
                self._tell(await self._store.transaction(decision))
            except StoreUnavailable:
                raise
            except Exception as error:
                log.exception("event.not_decided", event_no=event_no)
                await self._store.transaction(partial(note_failure, event_no=event_no, error=repr(error)))

    def _tell(self, decided: Decided) -> None:
        """What was decided is committed."""
        self._settings.observations.decided(decided)
        for run_no in decided.begun:
            self._begin(run_no)
        self._starts_wait = self._starts_wait or decided.outcomes["waiting"] > 0
        if decided.fetches:
            self.wake()

    async def _insistently(self, function: Callable[[Connection], T]) -> T:
        """The transaction, again and again while the store is away."""
        while True:
            try:
                return await self._store.transaction(function)
            except StoreUnavailable as error:
                log.warning("store.unavailable", reason=str(error))
                await asyncio.sleep(self._settings.pause_seconds)
