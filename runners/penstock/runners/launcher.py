"""The port to user code: a launcher executes one order at a time in each of its slots. Adapters are in `launchers/`."""

from collections.abc import Callable
from typing import Protocol

from penstock.contracts.messages import Completed, Order
from penstock.contracts.spec import StepSpec

ReportProgress = Callable[[float, float | None, str], None]


class Launcher(Protocol):
    """Promised: the answer tells how the attempt ended, whatever the user's code did; once it is given, outputs are in the artifact
    store and nothing of the attempt is running. Cancelling the call stops the user's code, and returns when it has ended.

    Not promised: that a call which raises executed nothing. Any error means that the attempt could not be executed here.
    """

    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        """Runs `step`, which is `order.step` decoded. The answer's `runner` is left for the caller to fill in."""
        ...

    async def close(self) -> None:
        """Ends everything that still runs. `execute` may not be called afterwards."""
        ...
