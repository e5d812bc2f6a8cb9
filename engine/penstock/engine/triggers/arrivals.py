"""Events as what holds them sees them: which, from which source of the trigger, and when they came."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Arrival:
    """An event that is held or has just come. They are in the order of their numbers, which is that in which they were stored."""

    event_no: int
    replay: int = 0
    member: int = 0
    received_us: int = 0

    @property
    def occurrence(self) -> tuple[int, int]:
        """What tells it from others: the event, and how often it was replayed."""
        return self.event_no, self.replay
