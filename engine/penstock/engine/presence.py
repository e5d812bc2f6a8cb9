"""Presence: which attempts may be declared lost. Pure; times are one process's own monotonic seconds.

A coordinator hears runners' heartbeats and, through the same exchange, its own ticks. An attempt is lost only when a tick that was sent
at least `patience` after the last heartbeat naming it has come back, and no two ticks between were further apart than `gap`. So a
coordinator that was stalled, paused, cut off or restarted can't take its own deafness for a runner's death.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Attempt = TypeVar("Attempt")


@dataclass(slots=True)
class Presence(Generic[Attempt]):
    patience: float = 30.0
    gap: float = 5.0
    _heard: dict[Attempt, float] = field(default_factory=dict[Attempt, float])
    _steady_since: float | None = None
    _last_tick: float | None = None

    def heard(self, attempts: Iterable[Attempt], at: float) -> None:
        """A heartbeat named these attempts."""
        for attempt in attempts:
            self._heard[attempt] = at

    def tick_returned(self, sent_at: float) -> None:
        """A tick that was sent at that time has come back."""
        if self._last_tick is None or self._steady_since is None or sent_at - self._last_tick > self.gap:
            self._steady_since = sent_at
        self._last_tick = max(sent_at, self._last_tick or sent_at)

    def lost(self, live: Iterable[Attempt]) -> list[Attempt]:
        """Those of the `live` attempts that nobody holds any more. Others are forgotten."""
        known = {attempt: self._heard.get(attempt, self._last_tick) for attempt in live}
        self._heard = {attempt: at for attempt, at in known.items() if at is not None}
        if self._last_tick is None or self._steady_since is None:
            return []
        last, steady = self._last_tick, self._steady_since
        return [attempt for attempt, at in self._heard.items() if last - max(at, steady) >= self.patience]
