"""`penstock runner`: works for pools, on as many machines as there are."""

import contextlib
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import pynvml  # type: ignore[import-untyped]  # it ships no types

from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.dependencies import ARTIFACTS, BROKER, open_artifacts, open_bus
from penstock.deploy.services.health import Health
from penstock.deploy.services.lifetime import Lifetime
from penstock.deploy.services.naming import host_name
from penstock.deploy.services.observation import observe
from penstock.runners.launchers.process import ProcessLauncher
from penstock.runners.runner import Machine, Runner
from penstock.transport.artifact_store import ArtifactStore


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
    """Works until it is asked to stop; then it takes no more orders and finishes what it began."""
    for needed in ("broker_url", "artifacts_url"):
        settings.needed(needed)
    health = Health((BROKER, ARTIFACTS))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(observe(settings, health))
        bus = await stack.enter_async_context(open_bus(settings, name, health))
        artifacts = await stack.enter_async_context(open_artifacts(settings, health))
        launcher = process_launcher(artifacts, settings.cache_folder, pools)
        stack.push_async_callback(launcher.close)
        runner = Runner(
            bus,
            launcher,
            name=name,
            incarnation=secrets.token_hex(8),
            workspace=settings.workspace,
            pools=pools,
            machine=machine(),
            on_drain=lambda: lifetime.stop("it was asked to drain"),
        )

        def drain() -> None:
            health.is_draining = True
            runner.drain()

        await lifetime.serve(runner.run(), drain, settings.drain_seconds)


def process_launcher(artifacts: ArtifactStore, folder: Path, pools: Mapping[str, int]) -> ProcessLauncher:
    """Executes steps in processes of this machine; `folder` is shared by all runners of the machine."""
    state = folder / "runner"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ProcessLauncher(artifacts, state, slots=sum(pools.values()))
