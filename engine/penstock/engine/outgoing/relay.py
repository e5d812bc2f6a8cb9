"""The relay: publishes events that are owed to the bus, and delivers those that are owed to webhooks. Any number may serve one store.

What it has in hand is leased in the rows; what it can't mark as done is done again, under the same id.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import structlog
from asyncio_throttle.throttler import Throttler
from sqlalchemy import Connection

from penstock.contracts.errors import BusUnavailable, ContractError, StoreUnavailable
from penstock.engine.outgoing.owed_events import (
    BUS,
    Owed,
    Receiver,
    arrived,
    claim,
    due,
    forget_old,
    give_up,
    published,
    put_back,
    turn_off,
)
from penstock.engine.outgoing.webhooks import CONTENT_TYPE, WANTS_NO_MORE, Answer, WebhookSender, pause_seconds, secret_of, signed_headers
from penstock.engine.store import Store
from penstock.transport.bus import Bus, Envelope, Exchange

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.outgoing")

T = TypeVar("T")

TICK_SECONDS = 1.0
"""Other processes owe events too."""
AWAY_SECONDS = 1.0
"""Until a store or a bus that is away is tried again."""
PUBLISHED_AT_ONCE = 200
DELIVERED_AT_ONCE = 16
"""To one receiver."""
RECEIVERS = 64
"""Served at once."""
FORGET_SECONDS = 600.0
_SECOND = 1_000_000
_ERROR_LIMIT = 300


Answered = tuple[Receiver, Owed, Answer, "asyncio.Future[str]"]
"""A delivery that has ended, and who waits until that is marked."""


def _unnoted(_to: str, _result: str) -> None:
    """Nobody counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayPorts:
    """What the relay works with. `key` signs; `now` reads the store's clock in microseconds since 1970."""

    store: Store
    bus: Bus
    sender: WebhookSender
    key: bytes
    now: Callable[[], int]
    noted: Callable[[str, str], None] = _unnoted
    """Hears of each try: `bus` or `webhook`, and `done`, `failed` or `dead`."""


@dataclass(slots=True)
class OutgoingRelay:
    """Serves until it is cancelled. `wake` says that something new may be owed."""

    ports: RelayPorts
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _serving: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict[tuple[str, str], "asyncio.Task[None]"])
    _throttles: dict[tuple[str, str, int], Throttler] = field(default_factory=dict[tuple[str, str, int], Throttler])
    _answered: list[Answered] = field(default_factory=list[Answered])
    _marking: "asyncio.Task[None] | None" = None
    _forgot_at: float = 0.0

    def wake(self) -> None:
        self._news.set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._news.clear()
                    await self._rest(await self._round(tasks))
        finally:
            # What has arrived is marked, so that it does not arrive again.
            if self._marking is not None:
                await asyncio.gather(self._marking, return_exceptions=True)

    async def _round(self, tasks: asyncio.TaskGroup) -> float:
        try:
            return await self.round(tasks)
        except StoreUnavailable as error:
            log.warning("relay.waits", reason=str(error))
        except Exception:
            # One event that nobody foresaw must not silence all others for good.
            log.exception("relay.failed")
        return AWAY_SECONDS

    async def round(self, tasks: asyncio.TaskGroup) -> float:
        """Publishes what is due, and has due receivers served; the seconds until there may be more to do."""
        await self._forget()
        found = await self.ports.store.read(lambda connection: due(connection, self.ports.now()))
        for receiver in found.receivers:
            place = (receiver.workspace, receiver.name)
            if place not in self._serving and len(self._serving) < RECEIVERS:
                task = self._serving[place] = tasks.create_task(self._serve(receiver))
                task.add_done_callback(partial(self._served, place))
        if found.on_bus:
            await self.publish_due()
        if found.next_at is None:
            return TICK_SECONDS
        seconds = (found.next_at - self.ports.now()) / _SECOND
        # What is due and was not taken is in the hands of a receiver's task, or waits for one that is paused.
        return min(TICK_SECONDS, seconds) if seconds > 0 else TICK_SECONDS

    async def publish_due(self) -> None:
        """Publishes all that is owed to the bus, as long as the bus takes it."""
        while True:
            taken = await self._write(lambda connection: claim(connection, "", BUS, self.ports.now(), PUBLISHED_AT_ONCE))
            if not taken:
                return
            results = await asyncio.gather(*(self._publish(owed) for owed in taken))
            there = [owed.number for owed, is_there in zip(taken, results, strict=True) if is_there]
            away = [owed.number for owed, is_there in zip(taken, results, strict=True) if not is_there]
            await self._write(partial(self._mark_published, there=there, away=away))
            if away:
                return

    def _mark_published(self, connection: Connection, *, there: list[int], away: list[int]) -> None:
        published(connection, there)
        due_at = self.ports.now() + int(AWAY_SECONDS * _SECOND)
        for number in away:
            put_back(connection, number, due_at, None, "the bus is away")

    async def _publish(self, owed: Owed) -> bool:
        """Whether it needs to be published no more."""
        try:
            envelope = Envelope(exchange=Exchange.EVENTS, key=owed.topic, body=owed.body.encode(), content_type=CONTENT_TYPE)
            await self.ports.bus.publish(envelope)
        except BusUnavailable as error:
            log.warning("event.not_published", topic=owed.topic, reason=str(error))
            self.ports.noted("bus", "failed")
            return False
        except ContractError as error:
            log.error("event.impossible", topic=owed.topic, reason=str(error))  # noqa: TRY400 - it says all
            self.ports.noted("bus", "dead")
            return True
        self.ports.noted("bus", "done")
        return True

    # Webhooks

    def _served(self, place: tuple[str, str], _task: "asyncio.Task[None]") -> None:
        self._serving.pop(place, None)
        # What became due meanwhile is looked at now.
        self._news.set()

    async def _serve(self, receiver: Receiver) -> None:
        """Delivers to one receiver what is due, so that a slow one keeps no other waiting."""
        count = min(DELIVERED_AT_ONCE, receiver.rate_per_second or DELIVERED_AT_ONCE)
        try:
            taken = await self._write(lambda connection: claim(connection, receiver.workspace, receiver.name, self.ports.now(), count))
            await asyncio.gather(*(self._deliver(receiver, owed) for owed in taken))
        except StoreUnavailable as error:
            log.warning("relay.waits", reason=str(error))
            await asyncio.sleep(AWAY_SECONDS)
        except Exception:
            log.exception("relay.failed", subscription=receiver.name)
            await asyncio.sleep(AWAY_SECONDS)

    async def _deliver(self, receiver: Receiver, owed: Owed) -> None:
        if receiver.rate_per_second is not None:
            async with self._throttle(receiver, receiver.rate_per_second):
                pass  # It counts beginnings.
        body = owed.body.encode()
        secrets = [secret_of(self.ports.key, receiver.workspace, receiver.name, generation) for generation in receiver.generations]
        headers = signed_headers(secrets, owed.message_id, self.ports.now() // _SECOND, body)
        answer = await self.ports.sender.post(receiver.url, headers, body)
        done = asyncio.get_running_loop().create_future()
        self._answered.append((receiver, owed, answer, done))
        if self._marking is None or self._marking.done():
            self._marking = asyncio.create_task(self._mark_answered())
        self.ports.noted("webhook", await done)

    async def _mark_answered(self) -> None:
        """Marks together what was answered while the transaction before was under way: receivers are faster than disks."""
        while self._answered:
            answered, self._answered = self._answered, []
            try:
                results = await self._write(partial(self._mark_all, answered=answered))
            except Exception as error:  # noqa: BLE001 - told to each who waits for it
                for *_, done in answered:
                    if not done.done():
                        done.set_exception(error)
                continue
            for (*_, done), result in zip(answered, results, strict=True):
                if not done.done():
                    done.set_result(result)

    def _mark_all(self, connection: Connection, *, answered: list[Answered]) -> list[str]:
        return [self._mark(connection, receiver, owed, answer) for receiver, owed, answer, _ in answered]

    def _mark(self, connection: Connection, receiver: Receiver, owed: Owed, answer: Answer) -> str:
        now = self.ports.now()
        if answer.is_success:
            arrived(connection, owed.number, answer.status, now)
            return "done"
        error = (answer.error or f"the receiver answered {answer.status}")[:_ERROR_LIMIT]
        log.warning("webhook.failed", subscription=receiver.name, message_id=owed.message_id, tries=owed.tries, reason=error)
        if answer.status == WANTS_NO_MORE:
            turn_off(connection, receiver.workspace, receiver.name, "the receiver answered 410: it wants no more", now)
            return "dead"
        due_at = now + int(pause_seconds(owed.message_id, owed.tries, answer.retry_seconds) * _SECOND)
        if due_at > owed.give_up_at:
            give_up(connection, owed.number, answer.status, error, now)
            return "dead"
        put_back(connection, owed.number, due_at, answer.status, error)
        return "failed"

    def _throttle(self, receiver: Receiver, rate: int) -> Throttler:
        place = (receiver.workspace, receiver.name, rate)
        if place not in self._throttles:
            self._throttles[place] = Throttler(rate_limit=rate, period=1.0)
        return self._throttles[place]

    # The store

    async def _forget(self) -> None:
        if time.monotonic() - self._forgot_at > FORGET_SECONDS:
            self._forgot_at = time.monotonic()
            await self._write(lambda connection: forget_old(connection, self.ports.now()))

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    async def _write(self, function: Callable[[Connection], T]) -> T:
        return await self.ports.store.transaction(function)
