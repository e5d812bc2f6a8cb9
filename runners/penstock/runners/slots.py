"""The slots of a runner: an order that needs several gets them all at once.

Whoever waits longest is served first, and whoever waits holds nothing: so two orders that need several never wait for each other, and
small orders never keep a large one waiting for ever.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    count: int
    served: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Slots:
    """Those of one pool or lane. `when_wanted` is called with how many more than there are an order needs."""

    def __init__(self, count: int, when_wanted: Callable[[int], None]) -> None:
        self.count = count
        self.free = count
        self._when_wanted = when_wanted
        self._waiting: deque[_Waiting] = deque()

    @property
    def is_wanted(self) -> bool:
        """Whether an order waits for several: then nobody takes another order."""
        return any(waiting.count > 1 for waiting in self._waiting)

    async def take(self, count: int) -> None:
        if self.free >= count and not self._waiting:
            self.free -= count
            return
        waiting = _Waiting(count)
        self._waiting.append(waiting)
        if count > 1:
            self._when_wanted(count - self.free)
        try:
            await waiting.served
        except BaseException:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._serve()
            else:
                self.give(count)
            raise

    def give(self, count: int) -> None:
        self.free += count
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0].count <= self.free:
            first = self._waiting.popleft()
            self.free -= first.count
            first.served.set_result(None)


@dataclass(slots=True, eq=False)
class Seat:
    """What one consumer of a runner holds of the slots: one while it waits for orders, as many as an order needs while it executes it."""

    slots: Slots
    held: int = 0

    async def hold(self, count: int) -> None:
        """Returns when it holds that many. While it waits for more it holds none; cancelled, it holds none."""
        if self.held < count:
            self.leave()
            await self.slots.take(count)
            self.held = count
        else:
            self.shrink(count)

    def shrink(self, count: int) -> None:
        """Gives back what is more than that."""
        more = max(0, self.held - count)
        self.held -= more
        if more:
            self.slots.give(more)

    def leave(self) -> None:
        self.shrink(0)
