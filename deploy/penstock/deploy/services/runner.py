"""`penstock runner`: works for pools, on as many machines as there are."""

import contextlib
import os
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import pynvml  # type: ignore[import-untyped]  # it ships no types

from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.dependencies import ARTIFACTS, BROKER, open_artifacts, open_bus
from penstock.deploy.services.health import Health
from penstock.deploy.services.lifetime import Lifetime
from penstock.deploy.services.naming import host_name
from penstock.deploy.services.observation import Observation, observe
from penstock.deploy.services.observed import ObservedArtifacts, ObservedBus, ObservedLauncher
from penstock.runners.launchers.chosen import LauncherByIsolation
from penstock.runners.launchers.docker import DockerLauncher
from penstock.runners.launchers.process import ProcessLauncher
from penstock.runners.runner import Machine, Runner
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.bus import Bus


def gpu_count() -> int:
    """How many GPUs NVML sees; none where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def machine() -> Machine:
    """What heartbeats say of this machine."""
    return Machine(host=host_name(), software=version("penstock"), gpus=gpu_count())


async def serve_runner(pools: Mapping[str, int], name: str, settings: ServiceSettings, lifetime: Lifetime) -> None:
    """Works until it is asked to stop; then it takes no more orders and finishes what it began.

    :raises InvalidInput: a setting is missing.
    """
    for needed in ("broker_url", "artifacts_url"):
        settings.needed(needed)
    health = Health((BROKER, ARTIFACTS))
    async with AsyncExitStack() as stack:
        seen = await stack.enter_async_context(observe("runner", name, settings, health))
        bus = await stack.enter_async_context(open_bus(settings, name, health))
        artifacts = await stack.enter_async_context(open_artifacts(settings, health))
        place = settings.cache_folder, settings.workspace
        runner = await stack.enter_async_context(observed_runner(bus, artifacts, pools, name, place, seen, lifetime))

        def drain() -> None:
            health.is_draining = True
            runner.drain()

        await lifetime.serve(runner.run(), drain, settings.drain_seconds)


@asynccontextmanager
async def observed_runner(
    bus: Bus,
    artifacts: ArtifactStore,
    pools: Mapping[str, int],
    name: str,
    place: tuple[Path, str],
    seen: Observation,
    lifetime: Lifetime,
) -> AsyncGenerator[Runner]:
    """A runner whose work is counted and traced. `place`: its folder, shared by all runners of the machine, and the workspace."""
    folder, workspace = place
    incarnation = secrets.token_hex(8)
    launcher = observed_launcher(ObservedArtifacts(artifacts, seen.metrics), folder, pools, (name, incarnation), seen)
    try:
        yield Runner(
            ObservedBus(bus, seen.metrics),
            launcher,
            name=name,
            incarnation=incarnation,
            workspace=workspace,
            pools=pools,
            machine=machine(),
            on_drain=lambda: lifetime.stop("it was asked to drain"),
        )
    finally:
        await launcher.close()


def observed_launcher(
    artifacts: ArtifactStore, folder: Path, pools: Mapping[str, int], runner: tuple[str, str], seen: Observation
) -> ObservedLauncher:
    """Executes steps in processes of this machine, and in containers where it has an engine for them.

    `folder` is shared by all runners of the machine. `runner`: name and incarnation.
    """
    state = folder / "runner"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    processes = ProcessLauncher(artifacts, state, slots=sum(pools.values()))
    name, incarnation = runner
    containers = DockerLauncher(artifacts, state, runner=name, incarnation=incarnation) if has_docker() else None
    chosen = LauncherByIsolation(processes, containers)
    return ObservedLauncher(chosen, seen.metrics, pools, seen.tracer, lambda: processes.zygotes_started)


def has_docker() -> bool:
    """Whether a container engine is named, or is where it usually is."""
    return bool(os.environ.get("DOCKER_HOST")) or Path("/var/run/docker.sock").exists()
