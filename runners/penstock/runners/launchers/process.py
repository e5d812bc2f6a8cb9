"""The launcher that runs steps in processes of this machine: guests forked from zygotes."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from typing_extensions import override

from penstock.contracts.errors import ArtifactLost, InvalidInput
from penstock.contracts.messages import Completed, Failure, Order
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.checkpoints import remove_abandoned
from penstock.runners.environments.builds import Recipe
from penstock.runners.environments.shelf import Environments
from penstock.runners.execution import Execution, Preparation, Workshop
from penstock.runners.launcher import Launcher, ReportProgress
from penstock.runners.masking import spellings
from penstock.runners.memory_watch import MemoryWatch
from penstock.runners.nursery import Nursery
from penstock.runners.provision import PLAIN, Provision
from penstock.runners.snapshots import Snapshots
from penstock.runners.step_variables import guest_environment, step_variables
from penstock.runners.workdirs import Workdirs
from penstock.transport.artifact_store import ArtifactStore


def _unknown_project(order: Order) -> Path | None:
    return None


class ProcessLauncher(Launcher):
    """`state` is a folder of this machine: snapshots, logs, checkpoints, working directories.

    `project_of` tells the folder that an order's snapshot was taken from, where that is known, so that reads of what is not in the
    snapshot get a hint. `threads` is what numeric libraries in each guest may use; slots share the cores else.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        state: Path,
        provision: Provision = PLAIN,
        *,
        slots: int = 1,
        project_of: Callable[[Order], Path | None] = _unknown_project,
        threads: int | None = None,
    ) -> None:
        state = state.absolute()
        self._provision = provision
        self._project_of = project_of
        self._snapshots = Snapshots(state / "snapshots", artifacts)
        self._started = 0
        if provision.checkpoints is not None:
            remove_abandoned(artifacts.staging)
        self._workshop = Workshop(
            artifacts=artifacts,
            state=state,
            environments=Environments(state / "environments"),
            nursery=Nursery(ahead=slots),
            memory=MemoryWatch(),
            workdirs=Workdirs(artifacts.staging, f"work-{os.getpid()}"),
            environment=guest_environment(threads or max(1, (os.cpu_count() or 1) // max(1, slots))),
            provision=provision,
        )

    @override
    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        try:
            prepared = await self._prepared(order, step)
        except InvalidInput as error:
            told = Failure(kind=FailureKind.ENVIRONMENT, message=str(error))
            return Completed(attempt=order.attempt, token=order.token, runner="", outcome=AttemptState.FAILED, failure=told)
        except ArtifactLost as error:
            return Completed(attempt=order.attempt, token=order.token, runner="", outcome=AttemptState.INPUT_LOST, lost_digest=error.digest)
        self._started += 1
        return await Execution(self._workshop, order, step, prepared, f"{os.getpid()}-{self._started}").run(progress)

    @property
    def zygotes_started(self) -> int:
        """How many processes were started to fork guests from: each has imported a module."""
        return self._workshop.nursery.zygotes_started

    async def _prepared(self, order: Order, step: StepSpec) -> Preparation:
        variables, secrets = step_variables(step, self._provision.resolve_secret)
        snapshot = await self._snapshots.folder(order.snapshot) if order.snapshot is not None else ""
        project = str(self._project_of(order) or "")
        recipe = await self._recipe(step)
        return Preparation(
            snapshot=str(snapshot),
            project=project,
            variables=variables,
            secrets=spellings(secrets),
            recipe=recipe,
            devices=self._provision.devices(order),
        )

    async def _recipe(self, step: StepSpec) -> Recipe | None:
        """The environment that the step needs; None: the runner's own.

        :raises InvalidInput: it is one that can't be had in a process.
        :raises ArtifactLost: its lock is gone.
        """
        software = step.software
        if software is None:
            return None
        if software.lock is None:
            raise InvalidInput(f'its environment is the image {software.image}, which runs under isolation="docker" only')
        python = software.python or f"{sys.version_info.major}.{sys.version_info.minor}"
        name = f"{software.lock.digest.partition(':')[2][:24]}-{python}"
        return Recipe(name=name, python=python, lock=await self._workshop.artifacts.local(software.lock.digest))

    @override
    async def close(self) -> None:
        self._workshop.memory.close()
        await self._workshop.environments.close()
        await self._workshop.nursery.close()
        self._workshop.workdirs.close()
