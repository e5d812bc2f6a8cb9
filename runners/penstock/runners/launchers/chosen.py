"""The launcher that gives each order to one of two: steps with the isolation `docker` go to containers, all others to processes."""

from collections.abc import Callable

from typing_extensions import override

from penstock.contracts.messages import Completed, Failure, Order
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.launcher import Launcher, ReportProgress


class LauncherByIsolation(Launcher):
    """`containers` is None on a runner without a container engine: its steps in images fail, and say so."""

    def __init__(self, processes: Launcher, containers: Launcher | None) -> None:
        self._processes = processes
        self._containers = containers

    @override
    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        if step.isolation != "docker":
            return await self._processes.execute(order, step, progress)
        if self._containers is None:
            return Completed(attempt=order.attempt, token=order.token, runner="", outcome=AttemptState.FAILED, failure=_NO_ENGINE)
        return await self._containers.execute(order, step, progress)

    @override
    async def close(self) -> None:
        try:
            await self._processes.close()
        finally:
            if self._containers is not None:
                await self._containers.close()


class LauncherOnDemand(Launcher):
    """Makes the real one, and imports what that needs, when the first order comes: most runs need none."""

    def __init__(self, make: Callable[[], Launcher]) -> None:
        self._make = make
        self._made: Launcher | None = None

    @override
    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        if self._made is None:
            self._made = self._make()
        return await self._made.execute(order, step, progress)

    @override
    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()


_NO_ENGINE = Failure(
    kind=FailureKind.ENVIRONMENT,
    message="this runner has no Docker engine, and the step runs in an image",
    hint="give the step a pool whose runners have one, or start the engine where the runner is",
)
