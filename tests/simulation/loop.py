# pyright: reportPrivateUsage=false, reportAttributeAccessIssue=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false
# What an event loop is made of is private to asyncio; a test pins what is used here.
"""A deterministic event loop: virtual time, an order of callbacks drawn from a seed, and parties that can be frozen or killed.

Every callback belongs to the party in whose context it was scheduled. What belongs to a dead party never runs again, not even its
`finally` blocks, as after `kill -9`; what belongs to a frozen one runs when it thaws, as after SIGSTOP and SIGCONT.
"""

import asyncio
import contextvars
import heapq
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from typing_extensions import override

T = TypeVar("T")


class Deadlock(Exception):
    """Nothing is left to run, and nobody is done."""


@dataclass(eq=False)
class Party:
    """A process of the simulated cluster. `dies_after`: so many callbacks from now it dies between two of them."""

    name: str
    dies_after: int | None = None
    is_dead: bool = False
    is_frozen: bool = False
    when_dead: "Callable[[Party], None] | None" = None
    stash: list[asyncio.Handle] = field(default_factory=list[asyncio.Handle])

    @property
    def context(self) -> contextvars.Context:
        """What acts in it acts for this party."""
        context = contextvars.Context()
        context.run(PARTY.set, self)
        return context


PARTY: contextvars.ContextVar[Party | None] = contextvars.ContextVar("party", default=None)


class SimLoop(asyncio.base_events.BaseEventLoop):
    """Uses private attributes of its base: `test_the_loop_finds_the_attributes_that_it_relies_on` pins them."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = random.Random(f"loop {seed}")
        self.steps = 0
        self.is_over = False
        """Set at the end: the dead may clean up, so that nothing is left pending."""
        self._virtual = 0.0
        self._living: list[asyncio.Task[Any]] = []
        self._dropped: list[asyncio.Handle] = []
        self.set_task_factory(self._make_task)

    @override
    def time(self) -> float:
        return self._virtual

    def spawn(self, party: Party | None, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of that party."""
        return self.create_task(work, context=contextvars.Context() if party is None else party.context)

    def kill(self, party: Party) -> None:
        """It never acts again."""
        if not party.is_dead:
            party.is_dead = True
            self._dropped += party.stash
            party.stash.clear()
            if party.when_dead is not None:
                party.when_dead(party)

    def thaw(self, party: Party) -> None:
        party.is_frozen = False
        self._ready.extend(party.stash)  # type: ignore[attr-defined]  # a private attribute that the canary pins
        party.stash.clear()

    def finish(self) -> None:
        """Ends every task that is left."""
        self.is_over = True
        self._ready.extend(handle for handle in self._dropped)  # type: ignore[attr-defined]  # as above
        pending = [task for task in self._living if not task.done()]
        for task in pending:
            task.cancel()
        self.run_until_complete(self._ended(pending))
        self.run_until_complete(self.shutdown_asyncgens())
        self._living.clear()
        self._dropped.clear()
        self.close()

    async def _ended(self, tasks: list[asyncio.Task[Any]]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)

    def _make_task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
        # Held, so that the garbage collector's timing decides nothing.
        self._living.append(task)
        if len(self._living) > 5000:
            self._living = [kept for kept in self._living if not kept.done()]
        return task

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]  # as above
        if not ready and not self._stopping:  # type: ignore[attr-defined]  # as above
            self._advance(scheduled)
        while scheduled and scheduled[0]._when <= self._virtual:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        batch = list(ready)
        ready.clear()
        if len(batch) > 1:
            self.rng.shuffle(batch)
        for handle in batch:
            if not handle._cancelled:
                self._run(handle)

    def _advance(self, scheduled: list[Any]) -> None:
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not scheduled:
            raise Deadlock("every task waits for another one")
        self._virtual = max(self._virtual, scheduled[0]._when)

    def _run(self, handle: Any) -> None:
        party = handle._context.get(PARTY)
        if party is not None and not self.is_over:
            if not party.is_dead and party.dies_after is not None:
                party.dies_after -= 1
                if party.dies_after <= 0:
                    self.kill(party)
            if party.is_dead:
                self._dropped.append(handle)
                return
            if party.is_frozen:
                party.stash.append(handle)
                return
        self.steps += 1
        handle._run()

    def _process_events(self, event_list: Any) -> None:
        return

    def _write_to_self(self) -> None:
        return
