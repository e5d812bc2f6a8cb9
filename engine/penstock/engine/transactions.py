"""The transactions of a coordinator: they decide a batch, give out what slots are free, and note which orders were sent."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count

import structlog
from sqlalchemy import Connection

from penstock.contracts.errors import ContractError, StoreUnavailable
from penstock.contracts.messages import AttemptKey, CancelRun, Completed, Released, Started
from penstock.contracts.names import dashed
from penstock.engine.batch import Outcome, decide_all, give_out, work
from penstock.engine.core.plan import plan_of
from penstock.engine.core.slice import Circumstances
from penstock.engine.core.wants import Begin, Fact, ManifestsNeeded, Stop
from penstock.engine.dispatcher import Dispatcher
from penstock.engine.inbox import Batch, Inbox, Submission
from penstock.engine.manifests import Manifests
from penstock.engine.pools import PoolKey
from penstock.engine.runs import number_of, submit
from penstock.engine.store import Store
from penstock.engine.timers import next_timer

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.coordinator")

AGAIN_SECONDS = 1.0
"""Until slots that could not be given out are given out again."""
PASSED_OVER_SECONDS = 0.01
"""Until what was left to another coordinator, which was at its run, is looked at again."""


class Transactions:
    """`circumstances` are those of the moment; `timers_changed` hears that there may be an earlier timer."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        manifests: Manifests,
        inbox: Inbox,
        *,
        now: Callable[[], int],
        circumstances: Callable[[int], Circumstances],
        timers_changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._manifests = manifests
        self._inbox = inbox
        self._now = now
        self._circumstances = circumstances
        self._timers_changed = timers_changed
        self.slots: dict[str, dict[PoolKey, int]] = {}
        """What each runner offers."""
        self.sent: list[AttemptKey] = []
        """Orders on the bus of which the store does not know yet."""
        self.next_timer: int | None = None

    async def commit(self, batch: Batch, facts: Mapping[int, Sequence[Fact]]) -> Outcome:
        """Decides, and gives out what is free: in one transaction where that goes well.

        :raises StoreUnavailable: as the store's.
        """
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
        sent = list(self.sent) if gives_out else []
        made: list[int | ContractError] = []

        def function(connection: Connection) -> Outcome:
            now = self._now()
            all_facts = {run_no: list(known) for run_no, known in facts.items()}
            made[:] = self._begin_all(connection, batch.submits, all_facts, now)
            for command in batch.cancels:
                self._cancel(connection, command, all_facts)
            if not gives_out:
                return decide_all(connection, all_facts, self._circumstances(now), self._dispatcher)
            outcome = work(connection, all_facts, self._circumstances(now), self._dispatcher, self.all_slots())
            # Last of all: whoever decides a run may wait for its attempts, and nobody who has those may wait for runs.
            self._dispatcher.mark_sent(connection, sent, now)
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
            self.sent[:] = [attempt for attempt in self.sent if attempt not in reported]

    def _look_at_timers(self, connection: Connection, now: int, *, has_new: bool) -> None:
        """Others set some too, and take some away: upkeep looks once a second."""
        if has_new or (self.next_timer is not None and self.next_timer <= now):
            self.next_timer = next_timer(connection, self._dispatcher.owner)

    def _given_out(self, sent: Sequence[AttemptKey]) -> None:
        """The transaction that gave out slots is committed."""
        self._timers_changed()
        del self.sent[: len(sent)]
        self._await_rates()
        if self._dispatcher.take_passed_over():
            asyncio.get_running_loop().call_later(PASSED_OVER_SECONDS, self._inbox.wake)

    async def _give_out(self) -> Outcome:
        """Gives out free slots in a transaction of its own. What fails is tried again soon: what was decided before is committed."""
        sent = list(self.sent)

        def function(connection: Connection) -> Outcome:
            now = self._now()
            outcome = give_out(connection, self._circumstances(now), self._dispatcher, self.all_slots())
            self._dispatcher.mark_sent(connection, sent, now)
            self.next_timer = next_timer(connection, self._dispatcher.owner)
            return outcome

        try:
            outcome = await self._with_manifests(function)
        except Exception as error:
            log.error("dispatch.failed", reason=str(error), exc_info=None if isinstance(error, StoreUnavailable) else error)  # noqa: TRY400
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._inbox.wake)
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
                self._dispatcher.learn(self.slots.get(fact.runner, ()), fact.seconds)

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

    def _begin_all(
        self, connection: Connection, submissions: Sequence[Submission], facts: dict[int, list[Fact]], now: int
    ) -> list[int | ContractError]:
        """By pipelines, as whoever else makes runs of several: nobody waits in a circle for the numbers of runs."""
        in_order = sorted(range(len(submissions)), key=lambda place: _pipeline_of(submissions[place]))
        made = {place: self._begin(connection, submissions[place], facts, now) for place in in_order}
        return [made[place] for place in range(len(submissions))]

    def _begin(self, connection: Connection, submission: Submission, facts: dict[int, list[Fact]], now: int) -> int | ContractError:
        request, future = submission
        try:
            run_no, _ = submit(connection, request, now)
        except ContractError as error:
            if future is None:  # Else whoever waits for it is told.
                log.warning("run.refused", run_id=request.run_id, reason=str(error))
            return error
        # The API makes a run and rings for it; one that has begun takes no notice.
        facts.setdefault(run_no, []).insert(0, Begin())
        return run_no

    def _cancel(self, connection: Connection, command: CancelRun, facts: dict[int, list[Fact]]) -> None:
        run_no = self.number_of_run(connection, command)
        if run_no is not None:
            facts.setdefault(run_no, []).append(Stop("cancelled", command.reason, command.leaves_hooks))

    def number_of_run(self, connection: Connection, command: CancelRun) -> int | None:
        try:
            return number_of(connection, command.workspace, command.run_id)
        except ContractError as error:
            log.warning("cancel.refused", run_id=command.run_id, reason=str(error))
            return None

    def all_slots(self) -> dict[PoolKey, list[int]]:
        """Those of each runner. What one offers to its workspace is nothing to others, whose work is in other queues."""
        found: dict[PoolKey, list[int]] = defaultdict(list)
        for slots in self.slots.values():
            for pool, offered in slots.items():
                found[pool].append(offered)
        return found


def _pipeline_of(submission: Submission) -> tuple[str, str]:
    request, _ = submission
    try:
        return request.workspace, dashed(plan_of(request.spec).spec.name)
    except ContractError:
        return request.workspace, ""  # of which no run is made
