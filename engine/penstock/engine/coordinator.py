"""The coordinator: takes reports and commands in, decides, commits, publishes what is owed, acknowledges. It keeps no state of its own.

A crash after any line loses nothing and does nothing twice: what was not acknowledged comes again, what was not sent is found in the
rows, and facts that no longer apply change nothing.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count

import structlog
from sqlalchemy import Connection

from penstock.contracts.errors import BusUnavailable, ContractError, StoreUnavailable
from penstock.contracts.messages import (
    AttemptKey,
    CancelAttempts,
    CancelRun,
    Completed,
    Order,
    Released,
    Started,
    SubmitRun,
    encode,
)
from penstock.engine.batch import Chore, Outcome, decide_all, give_out, orphans, work
from penstock.engine.chores import Chores
from penstock.engine.core.slice import Circumstances
from penstock.engine.core.wants import Begin, Fact, ManifestsNeeded, Resumed, Stop
from penstock.engine.dead_letters import DeadLetters
from penstock.engine.dispatcher import Dispatcher
from penstock.engine.inbox import BATCH, Batch, Inbox, Submission
from penstock.engine.manifests import Manifests
from penstock.engine.observations import Observations, Unobserved
from penstock.engine.pools import PoolKey
from penstock.engine.quarantine import Failures, quarantine
from penstock.engine.runs import number_of, submit
from penstock.engine.shared_entries import NewEntry, SharedEntries
from penstock.engine.store import Store
from penstock.engine.timers import next_timer
from penstock.engine.upkeep import Duties, Upkeep
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.bus import INBOX, Bus, Envelope, Exchange, work_key

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.coordinator")

REMEMBERED = 1000
"""Ended runs that somebody may be about to wait for."""
PAUSE_SECONDS = 1.0
"""Between two tries to reach a store or a bus that is away."""
CANCELLED_AT_ONCE = 1000
GATHER_SECONDS = 0.02
"""So long reports are gathered for one transaction while every slot has enough to do; a transaction costs what ten reports cost."""
_SHARE = 3
"""The part of what waits behind the slots that may be done before more is given out."""
PASSED_OVER_SECONDS = 0.01
"""Until what was left to another coordinator, which was at its run, is looked at again."""


def _is_never_gone(owner: str) -> bool:
    return False


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


class Coordinator:
    """Any number may serve one store and one bus. `now` reads the store's clock in microseconds since 1970."""

    def __init__(self, bus: Bus, store: Store, artifacts: ArtifactStore, settings: CoordinatorSettings, now: Callable[[], int]) -> None:
        self._bus = bus
        self._store = store
        self._settings = settings
        self._now = now
        self._chores = Chores(store, artifacts, settings.shared)
        self._publishing: set[asyncio.Task[None]] = set()
        self._dispatcher = Dispatcher(key=settings.token_key, owner=settings.owner, incarnation=settings.owner or "")
        self._manifests = Manifests(artifacts)
        self._slots: dict[str, dict[PoolKey, int]] = {}
        self._inbox = Inbox()
        self._failures = Failures()
        self._busy: dict[Chore, asyncio.Task[None]] = {}
        self._sent: list[AttemptKey] = []
        self._next_timer: int | None = None
        self._is_draining = False
        self._endings: dict[int, asyncio.Event] = {}
        self._over: deque[int] = deque(maxlen=REMEMBERED)
        duties = Duties(
            tell=self.tell,
            send=self._send,
            cancel=self._ask_to_stop,
            is_pending=lambda attempt: attempt in self._sent,
            is_busy=lambda chore: chore in self._busy,
            set_slots=self.set_slots,
            next_timer=lambda: self._next_timer,
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
                    work.append(DeadLetters(self._bus, self.tell).run())
                others = [tasks.create_task(one) for one in work]
                await self._work_through(tasks)
                # Chores are found again in the rows by whoever serves them.
                for task in (*others, *self._busy.values()):
                    task.cancel()
        finally:
            for task in self._busy.values():
                task.cancel()

    def drain(self) -> None:
        """Has `run` end after the transaction that is under way. What was not begun is delivered to others."""
        self._is_draining = True
        self._inbox.wake()

    def set_slots(self, runner: str, slots: Mapping[str, int], workspace: str = "default") -> None:
        """What a runner offers to a workspace, by pool; its heartbeats say the same."""
        offered = {(workspace, pool): count for pool, count in slots.items()}
        if self._slots.get(runner, {}) != offered:
            self._slots[runner] = offered
            self._inbox.wake()

    @property
    def pools(self) -> list[PoolKey]:
        """The pools that runners serve now, as far as this coordinator heard."""
        return sorted((workspace, pool) for workspace, pool in self._all_slots() if "/" not in pool)

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
        """Goes on with a run whose process is gone: what that process was executing is executed again."""
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
            await self._perform(outcome, tasks)
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
            return await self._transaction(batch, batch.facts)
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
            return await self._transaction(Batch(submits=[submission]), {})
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("run.refused", run_id=request.run_id)
            if future is not None and not future.done():
                future.set_exception(ContractError(f"the run can't begin, internal error, please report it: {error!r}"))
            return Outcome()

    async def _cancel_alone(self, command: CancelRun) -> Outcome:
        run_no = await self._store.read(lambda connection: self._number_of(connection, command))
        stop = Stop("cancelled", command.reason, command.leaves_hooks)
        return Outcome() if run_no is None else await self._commit_alone(run_no, stop)

    async def _commit_alone(self, run_no: int, fact: Fact) -> Outcome:
        try:
            return await self._transaction(Batch(), {run_no: [fact]})
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

    async def _transaction(self, batch: Batch, facts: Mapping[int, Sequence[Fact]]) -> Outcome:
        if not self._store.is_concurrent:
            return await self._decide(batch, facts)
        if batch.is_idle and not facts:
            return await self._give_out()
        try:
            return await self._decide(batch, facts)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - what is decided must not suffer from what can't be given out
            log.warning("batch.divided", reason=repr(error))
        outcome = await self._decide(batch, facts, gives_out=False)
        outcome.add(await self._give_out())
        return outcome

    async def _decide(self, batch: Batch, facts: Mapping[int, Sequence[Fact]], *, gives_out: bool = True) -> Outcome:
        """The transaction that decides, and gives out free slots too."""
        self._forget_sent(facts)
        sent = list(self._sent) if gives_out else []
        made: list[int | ContractError] = []

        def function(connection: Connection) -> Outcome:
            now = self._now()
            self._dispatcher.mark_sent(connection, sent, now)
            all_facts = {run_no: list(known) for run_no, known in facts.items()}
            made[:] = [self._begin(connection, request, all_facts, now) for request, _ in batch.submits]
            for command in batch.cancels:
                self._cancel(connection, command, all_facts)
            if not gives_out:
                return decide_all(connection, all_facts, self._circumstances(now), self._dispatcher)
            outcome = work(connection, all_facts, self._circumstances(now), self._dispatcher, self._all_slots())
            self._look_at_timers(connection, now, has_new=outcome.has_timers or batch.is_idle)
            return outcome

        outcome = await self._with_manifests(function)
        self._manifests.settle()
        if gives_out:
            self._given_out(sent)
        self._learn(facts)
        for (_, future), number in zip(batch.submits, made, strict=True):
            if future is not None and not future.done():
                future.set_result(number) if isinstance(number, int) else future.set_exception(number)
        return outcome

    def _forget_sent(self, facts: Mapping[int, Sequence[Fact]]) -> None:
        """Of an attempt that somebody reports on nobody asks any more whether its order was sent."""
        reported = frozenset(
            fact.attempt for fact in chain.from_iterable(facts.values()) if isinstance(fact, Started | Completed | Released)
        )
        if reported:
            self._sent[:] = [attempt for attempt in self._sent if attempt not in reported]

    def _look_at_timers(self, connection: Connection, now: int, *, has_new: bool) -> None:
        """Others set some too, and take some away: upkeep looks once a second."""
        if has_new or (self._next_timer is not None and self._next_timer <= now):
            self._next_timer = next_timer(connection, self._settings.owner)

    def _given_out(self, sent: Sequence[AttemptKey]) -> None:
        """The transaction that gave out slots is committed."""
        self._upkeep.timers_changed()
        del self._sent[: len(sent)]
        self._await_rates()
        if self._dispatcher.take_passed_over():
            asyncio.get_running_loop().call_later(PASSED_OVER_SECONDS, self._inbox.wake)

    async def _give_out(self) -> Outcome:
        """Gives out free slots in a transaction of its own. What fails is tried again soon: what was decided before is committed."""
        sent = list(self._sent)

        def function(connection: Connection) -> Outcome:
            now = self._now()
            self._dispatcher.mark_sent(connection, sent, now)
            outcome = give_out(connection, self._circumstances(now), self._dispatcher, self._all_slots())
            self._next_timer = next_timer(connection, self._settings.owner)
            return outcome

        try:
            outcome = await self._with_manifests(function)
        except Exception as error:
            log.error("dispatch.failed", reason=str(error), exc_info=None if isinstance(error, StoreUnavailable) else error)  # noqa: TRY400
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._inbox.wake)
            return Outcome()
        self._manifests.settle()
        self._given_out(sent)
        return outcome

    def _await_rates(self) -> None:
        """Looks again when a rate lets the next one through."""
        at = self._dispatcher.take_next_at()
        if at is not None:
            seconds = max(PASSED_OVER_SECONDS, (at - self._now()) / 1_000_000)
            asyncio.get_running_loop().call_later(seconds, self._inbox.wake)

    def _learn(self, facts: Mapping[int, Sequence[Fact]]) -> None:
        for fact in chain.from_iterable(facts.values()):
            if isinstance(fact, Completed):
                self._dispatcher.learn(self._slots.get(fact.runner, ()), fact.seconds)

    async def _with_manifests(self, function: Callable[[Connection], Outcome]) -> Outcome:
        """The transaction, again where a directory's manifest must be read first."""
        calls = count()

        def afresh(connection: Connection) -> Outcome:
            if next(calls):
                # The store calls it again where it met another transaction.
                self._dispatcher.roll_back()
            return function(connection)

        while True:
            try:
                return await self._store.transaction(afresh)
            except ManifestsNeeded as needed:
                self._dispatcher.roll_back()
                await self._manifests.read(needed.digests)
            except BaseException:
                self._dispatcher.roll_back()
                raise

    def _begin(self, connection: Connection, request: SubmitRun, facts: dict[int, list[Fact]], now: int) -> int | ContractError:
        try:
            run_no, _ = submit(connection, request, now)
        except ContractError as error:
            log.warning("run.refused", run_id=request.run_id, reason=str(error))
            return error
        # The API makes a run and rings for it; one that has begun takes no notice.
        facts.setdefault(run_no, []).insert(0, Begin())
        return run_no

    def _cancel(self, connection: Connection, command: CancelRun, facts: dict[int, list[Fact]]) -> None:
        run_no = self._number_of(connection, command)
        if run_no is not None:
            facts.setdefault(run_no, []).append(Stop("cancelled", command.reason, command.leaves_hooks))

    def _number_of(self, connection: Connection, command: CancelRun) -> int | None:
        try:
            return number_of(connection, command.workspace, command.run_id)
        except ContractError as error:
            log.warning("cancel.refused", run_id=command.run_id, reason=str(error))
            return None

    def _circumstances(self, now: int) -> Circumstances:
        return Circumstances(
            now=now,
            check_after=int(self._settings.check_after_seconds * 1_000_000),
            manifests=self._manifests.known,
            only_pool=self._settings.only_pool,
            lanes=self._upkeep.lanes,
            asks_others=self._settings.shared is not None,
        )

    def _all_slots(self) -> dict[PoolKey, list[int]]:
        """Those of each runner. What one offers to its workspace is nothing to others, whose work is in other queues."""
        found: dict[PoolKey, list[int]] = defaultdict(list)
        for slots in self._slots.values():
            for pool, offered in slots.items():
                found[pool].append(offered)
        return found

    # What is owed after a commit

    async def _perform(self, outcome: Outcome, tasks: asyncio.TaskGroup) -> None:
        await asyncio.gather(*(self._send(order) for order in outcome.orders))
        await self._ask_to_stop(outcome.cancellations)
        for reply_to, answer in outcome.answers:
            await self._publish(Envelope(reply_queue=reply_to, body=encode(answer)))
        for chore in outcome.chores:
            self._start_chore(chore, tasks)
        self._tell_others(outcome.cached, tasks)
        for run_no in outcome.ended:
            self._dispatcher.forget(run_no)
            self._over.append(run_no)
            if run_no in self._endings:
                self._endings.pop(run_no).set()

    async def _ask_to_stop(self, attempts: Sequence[AttemptKey]) -> None:
        for message in cancel_messages(attempts):
            await self._publish(Envelope(exchange=Exchange.CONTROL, body=encode(message)))

    def _tell_others(self, entries: Sequence[NewEntry], tasks: asyncio.TaskGroup) -> None:
        if entries and self._settings.shared is not None:
            task = tasks.create_task(self._settings.shared.publish(entries))
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)

    async def settled(self) -> None:
        """Waits until other engines were told of everything that is committed."""
        await asyncio.gather(*self._publishing, return_exceptions=True)

    async def _send(self, order: Order) -> None:
        """Publishes an order. The store learns of it with the next commit; a crash before that sends it twice, which is harmless."""
        key = work_key(order.workspace, order.pool, order.pipeline, order.step_name)
        try:
            await self._bus.publish(Envelope(exchange=Exchange.WORK, key=key, body=encode(order)))
        except BusUnavailable as error:
            log.warning("publish.failed", exchange=Exchange.WORK.value, reason=str(error))
        except (ContractError, ValueError, OverflowError) as error:
            # No broker would ever take it, and another coordinator would fare no better.
            log.error("order.impossible", run_id=order.run_id, step=order.step_name, reason=str(error))  # noqa: TRY400 - it says all
            self.tell(order.attempt.run_no, Stop("failed", f"the order of {order.step_name} can't be sent: {error}"))
        else:
            self._sent.append(order.attempt)

    async def _publish(self, envelope: Envelope) -> None:
        """Sends what nobody is lost without: who waits for it asks again."""
        try:
            await self._bus.publish(envelope)
        except (BusUnavailable, ContractError) as error:
            log.warning("publish.failed", exchange=str(envelope.exchange), reason=str(error))

    def _start_chore(self, chore: Chore, tasks: asyncio.TaskGroup) -> None:
        if chore not in self._busy:
            task = tasks.create_task(self._do(chore))
            self._busy[chore] = task
            task.add_done_callback(lambda _: self._busy.pop(chore, None))

    async def _do(self, chore: Chore) -> None:
        try:
            while needed := await self._tell_of(chore):
                await self._manifests.read(needed)
        except StoreUnavailable:
            return
        except Exception as error:
            log.exception("chore.failed", run_no=chore.run_no, node=chore.node, state=chore.state.value)
            self.tell(chore.run_no, Stop("failed", f"{chore.state.value} failed: {error}"))

    async def _tell_of(self, chore: Chore) -> set[str]:
        """Has decided what comes of a chore; returns the manifests that must be read first, where there are any."""
        try:
            async for fact in self._chores.facts(chore, self._circumstances(self._now())):
                await self.tell(chore.run_no, fact)
        except ManifestsNeeded as needed:
            return needed.digests
        return set()


def cancel_messages(attempts: Sequence[AttemptKey]) -> list[CancelAttempts]:
    """Asks for all of these to be stopped, in messages that are not too long to be read."""
    starts = range(0, len(attempts), CANCELLED_AT_ONCE)
    return [CancelAttempts(attempts=tuple(attempts[start : start + CANCELLED_AT_ONCE])) for start in starts]
