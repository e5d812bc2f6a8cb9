"""The launcher that gives each order to one of two: steps with the isolation `docker` go to containers, all others to processes."""

import asyncio
from collections.abc import Awaitable, Callable

from typing_extensions import override

from penstock.contracts.messages import Completed, Failure, Order
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.launcher import Launcher, ReportProgress


class LauncherByIsolation(Launcher):
    """`containers` is None on a runner without a container engine: its steps in images fail, and say so."""

    def __init__(self, processes: Launcher, containers: Launcher | None) -> None:
        self._processes = processes
        self._containers = containers or LauncherOfNothing(_NO_ENGINE)

    @override
    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        chosen = self._containers if step.isolation == "docker" else self._processes
        return await chosen.execute(order, step, progress)

    @override
    async def close(self) -> None:
        try:
            await self._processes.close()
        finally:
            await self._containers.close()


class LauncherOfNothing(Launcher):
    """Attempts fail, and say why nothing is executed here."""

    def __init__(self, failure: Failure) -> None:
        self._failure = failure

    @override
    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        return Completed(attempt=order.attempt, token=order.token, runner="", outcome=AttemptState.FAILED, failure=self._failure)

    @override
    async def close(self) -> None:
        return


class LauncherOnDemand(Launcher):
    """Makes the real one, and imports what that needs, when the first order comes: most runs need none. One of nothing is not kept."""

    def __init__(self, make: Callable[[], Awaitable[Launcher]]) -> None:
        self._make = make
        self._making = asyncio.Lock()
        self._made: Launcher | None = None

    @override
    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        async with self._making:
            launcher = self._made or await self._make()
            self._made = None if isinstance(launcher, LauncherOfNothing) else launcher
        return await launcher.execute(order, step, progress)

    @override
    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()


_NO_ENGINE = Failure(
    kind=FailureKind.ENVIRONMENT,
    message="this runner has no Docker engine, and the step runs in an image",
    hint="give the step a pool whose runners have one, or start the engine where the runner is",
)
