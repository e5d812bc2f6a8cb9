"""What a coordinator lets others see of its work: the port to metrics and traces. Adapters are where services are put together."""

from typing import Protocol

from typing_extensions import override

from penstock.engine.batch import Outcome
from penstock.engine.inbox import Batch


class Observations(Protocol):
    """Called on the coordinator's path: whoever implements it takes notes and returns. It may not raise."""

    def committed(self, batch: Batch, outcome: Outcome, seconds: float) -> None:
        """A batch is committed, all that was owed is sent, all is acknowledged; from beginning to end it took so long."""
        ...


class Unobserved(Observations):
    """Nobody looks."""

    @override
    def committed(self, batch: Batch, outcome: Outcome, seconds: float) -> None: ...
