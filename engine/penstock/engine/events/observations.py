"""What the event service lets others see of its work: the port to metrics."""

from typing import Protocol

from typing_extensions import override

from penstock.engine.events.records import Decided


class EventObservations(Protocol):
    """Called on the service's path: whoever implements it takes notes and returns. It may not raise."""

    def decided(self, decided: Decided) -> None:
        """Events were taken in and decided, and that is committed."""
        ...


class Unobserved(EventObservations):
    """Nobody looks."""

    @override
    def decided(self, decided: Decided) -> None: ...
