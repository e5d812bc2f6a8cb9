"""The launcher that gives each attempt its GPUs for as long as another one executes it."""

from typing_extensions import override

from penstock.contracts.messages import Completed, Failure, Order
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.devices import Devices, NotEnoughGpus
from penstock.runners.launcher import Launcher, ReportProgress


class LauncherOnGpus(Launcher):
    """`launcher` asks the same `devices` what an order was given."""

    def __init__(self, launcher: Launcher, devices: Devices) -> None:
        self._launcher = launcher
        self._devices = devices

    @override
    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        try:
            lease = await self._devices.take(order, step.resources)
        except NotEnoughGpus as error:
            hint = "state fewer: resources=Resources(gpu=...), or name a pool whose runners have as many"
            told = Failure(kind=FailureKind.ENVIRONMENT, message=str(error), hint=hint)
            return Completed(attempt=order.attempt, token=order.token, runner="", outcome=AttemptState.FAILED, failure=told)
        try:
            return await self._launcher.execute(order, step, progress)
        finally:
            self._devices.give_back(order, lease)

    @override
    async def close(self) -> None:
        await self._launcher.close()
