"""What a coordinator owes after a commit: orders, cancellations and answers on the bus, chores done, other engines told."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from penstock.contracts.errors import BusUnavailable, ContractError, StoreUnavailable
from penstock.contracts.messages import AttemptKey, CancelAttempts, Order, encode
from penstock.engine.batch import Chore, Outcome
from penstock.engine.chores import Chores
from penstock.engine.core.slice import Circumstances
from penstock.engine.core.wants import Fact, ManifestsNeeded, Stop
from penstock.engine.manifests import Manifests
from penstock.engine.shared_entries import NewEntry, SharedEntries
from penstock.transport.bus import Bus, Envelope, Exchange, work_key

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.coordinator")

CANCELLED_AT_ONCE = 1000


class Owed:
    """`tell` has a fact decided; `sent` collects the orders that are on the bus; `circumstances` are those of the moment."""

    def __init__(
        self,
        bus: Bus,
        chores: Chores,
        manifests: Manifests,
        shared: SharedEntries | None,
        *,
        tell: Callable[[int, Fact], "asyncio.Future[None]"],
        sent: list[AttemptKey],
        circumstances: Callable[[], Circumstances],
    ) -> None:
        self._bus = bus
        self._chores = chores
        self._manifests = manifests
        self._shared = shared
        self._tell = tell
        self._sent = sent
        self._circumstances = circumstances
        self._busy: dict[Chore, asyncio.Task[None]] = {}
        self._publishing: set[asyncio.Task[None]] = set()

    async def perform(self, outcome: Outcome, tasks: asyncio.TaskGroup) -> None:
        """Does what is short, and begins what lasts."""
        await asyncio.gather(*(self.send(order) for order in outcome.orders))
        await self.ask_to_stop(outcome.cancellations)
        for reply_to, answer in outcome.answers:
            await self._publish(Envelope(reply_queue=reply_to, body=encode(answer)))
        for chore in outcome.chores:
            self._start_chore(chore, tasks)
        self._tell_others(outcome.cached, tasks)

    def is_busy(self, chore: Chore) -> bool:
        return chore in self._busy

    def leave_chores(self) -> None:
        """They are found again in the rows by whoever serves them."""
        for task in self._busy.values():
            task.cancel()

    async def ask_to_stop(self, attempts: Sequence[AttemptKey]) -> None:
        """Asks whoever executes these to stop."""
        for message in cancel_messages(attempts):
            await self._publish(Envelope(exchange=Exchange.CONTROL, body=encode(message)))

    def _tell_others(self, entries: Sequence[NewEntry], tasks: asyncio.TaskGroup) -> None:
        if entries and self._shared is not None:
            task = tasks.create_task(self._shared.publish(entries))
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)

    async def settled(self) -> None:
        """Waits until other engines were told of everything that is committed."""
        await asyncio.gather(*self._publishing, return_exceptions=True)

    async def send(self, order: Order) -> None:
        """Publishes an order. The store learns of it with the next commit; a crash before that sends it twice, which is harmless."""
        key = work_key(order.workspace, order.pool, order.pipeline, order.step_name)
        try:
            await self._bus.publish(Envelope(exchange=Exchange.WORK, key=key, body=encode(order)))
        except BusUnavailable as error:
            log.warning("publish.failed", exchange=Exchange.WORK.value, reason=str(error))
        except (ContractError, ValueError, OverflowError) as error:
            # No broker would ever take it, and another coordinator would fare no better.
            log.error("order.impossible", run_id=order.run_id, step=order.step_name, reason=str(error))  # noqa: TRY400 - it says all
            self._tell(order.attempt.run_no, Stop("failed", f"the order of {order.step_name} can't be sent: {error}"))
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
            self._tell(chore.run_no, Stop("failed", f"{chore.state.value} failed: {error}"))

    async def _tell_of(self, chore: Chore) -> set[str]:
        """Has decided what comes of a chore; returns the manifests that must be read first, where there are any."""
        try:
            async for fact in self._chores.facts(chore, self._circumstances()):
                await self._tell(chore.run_no, fact)
        except ManifestsNeeded as needed:
            return needed.digests
        return set()


def cancel_messages(attempts: Sequence[AttemptKey]) -> list[CancelAttempts]:
    """Asks for all of these to be stopped, in messages that are not too long to be read."""
    starts = range(0, len(attempts), CANCELLED_AT_ONCE)
    return [CancelAttempts(attempts=tuple(attempts[start : start + CANCELLED_AT_ONCE])) for start in starts]
