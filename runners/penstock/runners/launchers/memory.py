"""A launcher without processes: steps are plain Python callables, for simulations and conformance tests."""

import asyncio
from collections.abc import Callable, Mapping

from typing_extensions import override

from penstock.contracts.artifacts import Value
from penstock.contracts.messages import Completed, Failure, Order
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.launcher import Launcher, ReportProgress

Work = Callable[[Order], Mapping[str, Value]]


class MemoryLauncher(Launcher):
    """`work` maps a step's name to what gives its outputs; `seconds` says how long an attempt takes, in the event loop's time."""

    def __init__(self, work: Mapping[str, Work], seconds: Callable[[Order], float] = lambda _: 0.0) -> None:
        self._work = work
        self._seconds = seconds
        self.executed: list[Order] = []
        """Every order that was begun."""

    @override
    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        self.executed.append(order)
        seconds = self._seconds(order)
        await asyncio.sleep(seconds)
        try:
            outputs = dict(self._work[step.name](order))
        except Exception as error:  # noqa: BLE001  # whatever the work raises is the attempt's failure
            told = Failure(kind=FailureKind.ERROR, message=str(error), error_type=type(error).__name__)
            return Completed(
                attempt=order.attempt, token=order.token, runner="", outcome=AttemptState.FAILED, failure=told, seconds=seconds
            )
        return Completed(
            attempt=order.attempt, token=order.token, runner="", outcome=AttemptState.SUCCEEDED, outputs=outputs, seconds=seconds
        )

    @override
    async def close(self) -> None:
        return
