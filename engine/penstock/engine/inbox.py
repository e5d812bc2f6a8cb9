"""What a coordinator has taken in and not yet decided: deliveries from the bus and facts of its own, batched for one transaction."""

import asyncio
import contextlib
from collections import defaultdict, deque
from dataclasses import dataclass, field
from functools import partial

import structlog

from penstock.contracts.errors import ContractError
from penstock.contracts.messages import COMMAND_LIMIT, CancelRun, Reports, SubmitRun, decode
from penstock.engine.core.wants import Fact
from penstock.transport.bus import REPORT_KEY, Delivery

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.coordinator")

BATCH = 300
"""Deliveries, and facts of its own, that one transaction takes at most."""

_ENDED = b"completed"

Submission = tuple[SubmitRun, "asyncio.Future[int] | None"]
"""A run asked for, and who waits for its number."""


@dataclass(slots=True)
class Batch:
    """What one transaction takes in. Futures are done when it is committed."""

    deliveries: list[Delivery] = field(default_factory=list[Delivery])
    facts: dict[int, list[Fact]] = field(default_factory=lambda: defaultdict[int, list[Fact]](list))
    submits: list[tuple[SubmitRun, "asyncio.Future[int] | None"]] = field(
        default_factory=list[tuple[SubmitRun, "asyncio.Future[int] | None"]]
    )
    cancels: list[CancelRun] = field(default_factory=list[CancelRun])
    own: list[tuple[int, Fact, "asyncio.Future[None]"]] = field(default_factory=list[tuple[int, Fact, "asyncio.Future[None]"]])

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to decide."""
        return not (self.facts or self.submits or self.cancels)

    def succeed(self) -> None:
        """It is committed."""
        for _, _, future in self.own:
            if not future.done():
                future.set_result(None)


def _also_done(other: "asyncio.Future[None]", _: "asyncio.Future[None]") -> None:
    if not other.done():
        other.set_result(None)


class Inbox:
    """Takes things in one by one, gives them out in batches. Waits for a batch to fill only where it is asked to."""

    def __init__(self) -> None:
        self._deliveries: asyncio.Queue[Delivery] = asyncio.Queue(BATCH * 2)
        self._kept: deque[Delivery] = deque()
        """Deliveries that come again, before all others."""
        self._facts: list[tuple[int, Fact, asyncio.Future[None]]] = []
        self._waiting: dict[tuple[int, Fact], asyncio.Future[None]] = {}
        """The facts above that can be told apart."""
        self._submits: list[Submission] = []
        self._wake = asyncio.Event()
        self._arrived = asyncio.Event()
        """Something has, since it was looked at last."""
        self._reports = 0
        """About so many are in the deliveries."""

    async def deliver(self, delivery: Delivery) -> None:
        """A message from the bus; waits while there are too many."""
        await self._deliveries.put(delivery)
        # Several may be in one message, and counting is cheaper than decoding.
        self._reports += max(1, delivery.body.count(_ENDED))
        self._arrived.set()
        self._wake.set()

    def tell(self, run_no: int, fact: Fact) -> "asyncio.Future[None]":
        """A fact of the coordinator's own; one that waits already is not taken twice, and its future belongs to all who told it."""
        told = self._told_before(run_no, fact)
        if told is not None:
            return told
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._facts.append((run_no, fact, future))
        self._note(run_no, fact, future)
        self._arrived.set()
        self._wake.set()
        return future

    def submit(self, request: SubmitRun) -> "asyncio.Future[int]":
        """A run asked for in this process; its number once it is durable."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._submits.append((request, future))
        self._arrived.set()
        self._wake.set()
        return future

    def wake(self) -> None:
        """Have the next batch taken even if there is nothing in it."""
        self._wake.set()

    async def gather(self, enough: int, seconds: float) -> None:
        """Returns when about so many reports are there, or a fact or a request of this process, or so much time has passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._reports < enough and not (self._facts or self._submits or self._kept):
                    self._arrived.clear()
                    await self._arrived.wait()

    async def batch(self) -> Batch:
        """What is there, once there is something."""
        await self._wake.wait()
        self._wake.clear()
        batch = Batch()
        while len(batch.deliveries) < BATCH and (delivery := self._next()) is not None:
            self._read(delivery, batch)
        if self._deliveries.empty():
            self._reports = 0
        taken, self._facts = self._facts[:BATCH], self._facts[BATCH:]
        for run_no, fact, _ in taken:
            batch.facts[run_no].append(fact)
            # What is told from now on may be about what this transaction does not see yet.
            with contextlib.suppress(TypeError):
                self._waiting.pop((run_no, fact), None)
        batch.own = taken
        batch.submits += self._submits
        self._submits = []
        if self._facts or self._kept or not self._deliveries.empty():
            self._wake.set()
        return batch

    def _next(self) -> Delivery | None:
        if self._kept:
            return self._kept.popleft()
        return None if self._deliveries.empty() else self._deliveries.get_nowait()

    def keep(self, batch: Batch) -> None:
        """Nothing of it was committed, or that is unknown: all of it comes again.

        Its deliveries stay in this process: a broker takes those away that are given back some twenty times, and a store may be away for
        longer than that takes.
        """
        self._kept.extendleft(reversed(batch.deliveries))
        # Those that came as deliveries are read again from them.
        self._submits = [submission for submission in batch.submits if submission[1] is not None] + self._submits
        self._keep_facts(batch.own)
        self._wake.set()

    def _keep_facts(self, own: list[tuple[int, Fact, "asyncio.Future[None]"]]) -> None:
        """Before those that were told since, each of them once."""
        since, self._facts, self._waiting = self._facts, [], {}
        for run_no, fact, future in (*own, *since):
            kept = self._told_before(run_no, fact)
            if kept is None:
                self._facts.append((run_no, fact, future))
                self._note(run_no, fact, future)
            else:
                kept.add_done_callback(partial(_also_done, future))

    def _told_before(self, run_no: int, fact: Fact) -> "asyncio.Future[None] | None":
        try:
            told = self._waiting.get((run_no, fact))
        except TypeError:
            # A list of step runs, or a report that came as a dead letter: too much to compare.
            return None
        return None if told is None or told.done() else told

    def _note(self, run_no: int, fact: Fact, future: "asyncio.Future[None]") -> None:
        with contextlib.suppress(TypeError):
            self._waiting[run_no, fact] = future

    def _read(self, delivery: Delivery, batch: Batch) -> None:
        batch.deliveries.append(delivery)
        try:
            message = decode(delivery.body, COMMAND_LIMIT)
        except ContractError as error:
            log.warning("message.refused", reason=str(error), size=len(delivery.body))
            return
        match message:
            case Reports():
                for report in message.reports:
                    batch.facts[report.attempt.run_no].append(report)
            case SubmitRun() | CancelRun() if delivery.properties.key == REPORT_KEY:
                # By that key runners tell how attempts go; it is all that a broker lets them publish here.
                log.warning("message.refused", reason=f"{message.type} came as a report, and is none")
            case SubmitRun():
                batch.submits.append((message, None))
            case CancelRun():
                batch.cancels.append(message)
            case _:
                log.warning("message.refused", reason=f"{message.type} does not belong in the inbox")
