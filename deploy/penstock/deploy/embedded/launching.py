"""Who executes the steps of the embedded engine: processes of this machine, and containers where a step asks for them."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from penstock.contracts.errors import InfrastructureError
from penstock.contracts.messages import Failure, Order
from penstock.contracts.states import FailureKind
from penstock.deploy.embedded.incarnation import is_alive
from penstock.deploy.user_secrets import secret_of_user
from penstock.runners.devices import Devices
from penstock.runners.gpus import own_gpus
from penstock.runners.launcher import Launcher
from penstock.runners.launchers.chosen import LauncherByIsolation, LauncherOfNothing, LauncherOnDemand
from penstock.runners.launchers.on_gpus import LauncherOnGpus
from penstock.runners.launchers.process import ProcessLauncher
from penstock.runners.provision import Provision
from penstock.transport.artifact_store import ArtifactStore


def local_launcher(
    artifacts: ArtifactStore, home: Path, slots: int, project_of: Callable[[Order], Path | None], incarnation: str
) -> Launcher:
    """A step that states GPUs has them to itself, on a machine that has as many; one that states none sees all of them."""
    devices = Devices(own_gpus, is_strict=False, locks=Path(tempfile.gettempdir()) / f"penstock-gpus-{os.getuid()}")
    runner = f"local-{hashlib.sha256(str(home.absolute()).encode()).hexdigest()[:16]}"
    provision = Provision(resolve_secret=secret_of_user, devices=devices.of)
    processes = ProcessLauncher(artifacts, home, provision, slots=slots, project_of=project_of)

    async def containers() -> Launcher:
        return await _containers(artifacts, home, provision, (runner, incarnation))

    return LauncherOnGpus(LauncherByIsolation(processes, LauncherOnDemand(containers)), devices)


async def _containers(artifacts: ArtifactStore, home: Path, provision: Provision, names: tuple[str, str]) -> Launcher:
    try:
        from penstock.runners.docker.owner import Owner  # noqa: PLC0415  # as below
        from penstock.runners.launchers.docker import DockerLauncher  # noqa: PLC0415  # what it imports is heavy, and few steps need it
    except ModuleNotFoundError as error:
        message = f"steps in containers need more than is installed here ({error.name} is missing)"
        return LauncherOfNothing(Failure(kind=FailureKind.ENVIRONMENT, message=message, hint="pip install 'penstock[services]'"))
    runner, incarnation = names
    owner = Owner(runner=runner, incarnation=incarnation, is_gone=lambda other: not is_alive(home, other))
    launcher = DockerLauncher(artifacts, home, owner, provision)
    try:
        await launcher.clear_leftovers()
    except InfrastructureError as error:
        await launcher.close()
        hint = "start a Docker engine here, or name one by DOCKER_HOST"
        return LauncherOfNothing(Failure(kind=FailureKind.ENVIRONMENT, message=str(error), hint=hint))
    return launcher
