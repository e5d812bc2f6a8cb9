"""The coordinator: takes reports and commands in, decides, commits, publishes what is owed, acknowledges. It keeps no state of its own.

A crash after any line loses nothing and does nothing twice: what was not acknowledged comes again, what was not sent is found in the
rows, and facts that no longer apply change nothing.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from penstock.contracts.errors import BusUnavailable, ContractError, StoreUnavailable
from penstock.contracts.messages import (
    CancelRun,
    SubmitRun,
)
from penstock.engine.batch import Outcome, orphans
from penstock.engine.chores import Chores
from penstock.engine.core.slice import Circumstances
from penstock.engine.core.wants import Begin, Fact, Resumed, Stop
from penstock.engine.dead_letters import DeadLetters, KeepEvent, keep_no_event
from penstock.engine.dispatcher import Dispatcher
from penstock.engine.inbox import BATCH, Batch, Inbox, Submission
from penstock.engine.manifests import Manifests
from penstock.engine.observations import Observations, Unobserved
from penstock.engine.owed import Owed
from penstock.engine.pools import PoolKey
from penstock.engine.quarantine import Failures, quarantine
from penstock.engine.shared_entries import SharedEntries
from penstock.engine.store import Store
from penstock.engine.transactions import Transactions
from penstock.engine.unbegun import is_unbegun
from penstock.engine.upkeep import Duties, Upkeep
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.bus import INBOX, Bus

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.coordinator")

REMEMBERED = 1000
"""Ended runs that somebody may be about to wait for."""
PAUSE_SECONDS = 1.0
"""Between two tries to reach a store or a bus that is away."""
GATHER_SECONDS = 0.02
"""So long reports are gathered for one transaction while every slot has enough to do; a transaction costs what ten reports cost."""
_SHARE = 3
"""The part of what waits behind the slots that may be done before more is given out."""


def _is_never_gone(owner: str) -> bool:
    return False


def _nobody_waits() -> None:
    """Whoever looks after events finds them in the rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorSettings:
    """`name` tells coordinators apart. `token_key` makes attempt tokens. `owner` is the process incarnation whose runs these are
    (embedded); None: every run. `only_pool`: the pool that stands for all (embedded)."""

    name: str
    token_key: bytes
    owner: str | None = None
    check_after_seconds: float = 600.0
    patience_seconds: float = 30.0
    only_pool: str | None = None
    is_gone: Callable[[str], bool] = _is_never_gone
    """Whether another owner is gone for good (embedded)."""
    observations: Observations = field(default_factory=Unobserved)
    again_seconds: float = PAUSE_SECONDS
    """Until what could not be decided is tried again."""
    shared: SharedEntries | None = None
    """Cache entries of other engines that use the same artifact store."""
    told: Callable[[], None] = _nobody_waits
    """Hears that events were kept, or are owed to somebody, and committed."""
    keep_event: KeepEvent = keep_no_event
    """Keeps a dead letter that was to be an event."""


class Coordinator:
    """Any number may serve one store and one bus. `now` reads the store's clock in microseconds since 1970."""

    def __init__(self, bus: Bus, store: Store, artifacts: ArtifactStore, settings: CoordinatorSettings, now: Callable[[], int]) -> None:
        self._bus = bus
        self._store = store
        self._settings = settings
        self._now = now
        self._dispatcher = Dispatcher(key=settings.token_key, owner=settings.owner, incarnation=settings.owner or "")
        self._manifests = Manifests(artifacts)
        self._inbox = Inbox()
        self._failures = Failures()
        self._transactions = Transactions(
            store,
            self._dispatcher,
            self._manifests,
            self._inbox,
            now=now,
            circumstances=self._circumstances,
            timers_changed=lambda: self._upkeep.timers_changed(),
        )
        self._owed = Owed(
            bus,
            Chores(store, artifacts, settings.shared),
            self._manifests,
            settings.shared,
            tell=self.tell,
            sent=self._transactions.sent,
            circumstances=lambda: self._circumstances(now()),
        )
        self._is_draining = False
        self._endings: dict[int, asyncio.Event] = {}
        self._over: deque[int] = deque(maxlen=REMEMBERED)
        duties = Duties(
            tell=self.tell,
            send=self._owed.send,
            cancel=self._owed.ask_to_stop,
            is_pending=lambda attempt: attempt in self._transactions.sent,
            is_busy=self._owed.is_busy,
            set_slots=self.set_slots,
            next_timer=lambda: self._transactions.next_timer,
            wake=self._inbox.wake,
            is_gone=settings.is_gone,
        )
        self._upkeep = Upkeep(settings.name, bus, store, self._dispatcher, duties, now, settings.patience_seconds)

    async def run(self) -> None:
        """Serves until it is cancelled, or `drain` was called and what it had begun is committed and acknowledged."""
        try:
            async with asyncio.TaskGroup() as tasks:
                work = [self._take_in(), self._upkeep.listen(), self._upkeep.tick()]
                if self._settings.owner is None:
                    work.append(DeadLetters(self._bus, self.tell, self._settings.keep_event).run())
                others = [tasks.create_task(one) for one in work]
                await self._work_through(tasks)
                self._owed.leave_chores()
                for task in others:
                    task.cancel()
        finally:
            self._owed.leave_chores()

    def drain(self) -> None:
        """Has `run` end after the transaction that is under way. What was not begun is delivered to others."""
        self._is_draining = True
        self._inbox.wake()

    def set_slots(self, runner: str, slots: Mapping[str, int], workspace: str = "default") -> None:
        """What a runner offers to a workspace, by pool; its heartbeats say the same."""
        offered = {(workspace, pool): count for pool, count in slots.items()}
        if self._transactions.slots.get(runner, {}) != offered:
            self._transactions.slots[runner] = offered
            self._inbox.wake()

    @property
    def pools(self) -> list[PoolKey]:
        """The pools that runners serve now, as far as this coordinator heard."""
        return sorted((workspace, pool) for workspace, pool in self.offered if "/" not in pool)

    @property
    def offered(self) -> set[PoolKey]:
        """The pools and lanes that runners serve now, as far as this coordinator heard."""
        return set(self._transactions.all_slots())

    async def ended(self, run_no: int, seconds: float) -> bool:
        """Waits until the run has ended, for so long at most; whether it has, as far as this process saw."""
        if run_no in self._over:
            return True
        ending = self._endings.setdefault(run_no, asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                return await ending.wait()
        except TimeoutError:
            return False

    def tell(self, run_no: int, fact: Fact) -> "asyncio.Future[None]":
        """Has a fact decided; the future is done when it is committed. Others may wait for it too: shield it where one may give up."""
        return self._inbox.tell(run_no, fact)

    async def take_in(self, run_no: int, fact: Fact) -> None:
        """Has a fact decided and committed."""
        await asyncio.shield(self.tell(run_no, fact))

    async def submit(self, request: SubmitRun) -> int:
        """Makes a run and begins it; durable when this returns its number. The same `run_id` again changes nothing.

        :raises ContractError: the request can't be accepted.
        """
        return await self._inbox.submit(request)

    async def take_over(self, run_no: int, owner: str) -> None:
        """Goes on with a run whose process is gone: what that process was executing is executed again. One that nobody has begun begins."""
        if await self._store.read(lambda connection: is_unbegun(connection, run_no)):
            await self.take_in(run_no, Begin())
            return
        facts = await self._store.read(lambda connection: orphans(connection, run_no, self._settings.owner or ""))
        await asyncio.gather(*(self.take_in(run_no, fact) for fact in [Resumed(owner), *facts]))

    async def _take_in(self) -> None:
        while True:
            try:
                async with self._bus.consume(INBOX, prefetch=BATCH) as deliveries:
                    async for delivery in deliveries:
                        await self._inbox.deliver(delivery)
            except BusUnavailable as error:
                log.warning("bus.lost", reason=str(error))
                await asyncio.sleep(PAUSE_SECONDS)

    # Working

    async def _work_through(self, tasks: asyncio.TaskGroup) -> None:
        while not self._is_draining:
            if self._store.is_concurrent and (enough := self._dispatcher.spare // _SHARE) > 1:
                await self._inbox.gather(enough, GATHER_SECONDS)
            batch = await self._inbox.batch()
            began = time.monotonic()
            try:
                outcome = await self._commit(batch)
            except StoreUnavailable as error:
                log.error("store.unavailable", reason=str(error))  # noqa: TRY400 - the trace says nothing that the text doesn't
                await asyncio.sleep(PAUSE_SECONDS)
                self._inbox.keep(batch)
                continue
            await self._put_broken_aside(outcome)
            await self._owed.perform(outcome, tasks)
            if outcome.has_told:
                self._settings.told()
            self._tell_of_endings(outcome)
            if self._failures.take_left():
                # What was committed of it changes nothing when it comes again.
                await asyncio.sleep(self._settings.again_seconds)
                self._inbox.keep(batch)
                continue
            for delivery in batch.deliveries:
                await delivery.acknowledge()
            batch.succeed()
            self._settings.observations.committed(batch, outcome, time.monotonic() - began)

    async def _commit(self, batch: Batch) -> Outcome:
        """One transaction; again, alone, for each run where they fail together."""
        try:
            return await self._transactions.commit(batch, batch.facts)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one poisonous fact must not stop the others
            log.warning("batch.failed", reason=repr(error), runs=len(batch.facts))
        outcome = Outcome()
        for submission in batch.submits:
            outcome.add(await self._submit_alone(submission))
        for command in batch.cancels:
            outcome.add(await self._cancel_alone(command))
        for run_no, facts in batch.facts.items():
            for fact in facts:
                outcome.add(await self._commit_alone(run_no, fact))
        return outcome

    async def _submit_alone(self, submission: Submission) -> Outcome:
        """Nothing is left of a run that can't even begin."""
        request, future = submission
        try:
            return await self._transactions.commit(Batch(submits=[submission]), {})
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("run.refused", run_id=request.run_id)
            if future is not None and not future.done():
                future.set_exception(ContractError(f"the run can't begin, internal error, please report it: {error!r}"))
            return Outcome()

    async def _cancel_alone(self, command: CancelRun) -> Outcome:
        run_no = await self._store.read(lambda connection: self._transactions.number_of_run(connection, command))
        stop = Stop("cancelled", command.reason, command.leaves_hooks)
        return Outcome() if run_no is None else await self._commit_alone(run_no, stop)

    async def _commit_alone(self, run_no: int, fact: Fact) -> Outcome:
        try:
            return await self._transactions.commit(Batch(), {run_no: [fact]})
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("fact.failed", run_no=run_no, fact=type(fact).__name__)
            if not self._failures.failed(run_no, time.monotonic()):
                return Outcome()
            log.error("run.quarantined", run_no=run_no, fact=type(fact).__name__)  # noqa: TRY400 - the trace was just written
            return await self._put_aside(run_no, f"{type(fact).__name__} can't be decided: {error!r}")

    async def _put_broken_aside(self, outcome: Outcome) -> None:
        for run_no, reason in self._dispatcher.take_broken():
            log.error("run.quarantined", run_no=run_no, reason=reason)
            try:
                outcome.add(await self._put_aside(run_no, reason))
            except Exception as error:  # noqa: BLE001 - it is found again when slots are given out
                log.error("run.not_quarantined", run_no=run_no, reason=str(error))  # noqa: TRY400 - as above

    async def _put_aside(self, run_no: int, reason: str) -> Outcome:
        aftermath = await self._store.transaction(lambda connection: quarantine(connection, run_no, reason, self._now()))
        for other, woken in aftermath.woken:
            self.tell(other, woken)
        return Outcome(cancellations=aftermath.working, touched={run_no}, ended={run_no})

    def _circumstances(self, now: int) -> Circumstances:
        return Circumstances(
            now=now,
            check_after=int(self._settings.check_after_seconds * 1_000_000),
            manifests=self._manifests.known,
            only_pool=self._settings.only_pool,
            lanes=self._upkeep.lanes,
            asks_others=self._settings.shared is not None,
        )

    def _tell_of_endings(self, outcome: Outcome) -> None:
        for run_no in outcome.ended:
            self._dispatcher.forget(run_no)
            self._over.append(run_no)
            if run_no in self._endings:
                self._endings.pop(run_no).set()

    async def settled(self) -> None:
        """Waits until other engines were told of everything that is committed."""
        await self._owed.settled()
