"""`penstock runner`: works for pools, on as many machines as there are."""

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import structlog

from penstock.contracts.errors import InfrastructureError
from penstock.contracts.messages import Service
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.dependencies import ARTIFACTS, BROKER, open_artifacts, open_bus
from penstock.deploy.services.health import Health
from penstock.deploy.services.lifetime import Lifetime
from penstock.deploy.services.naming import host_name
from penstock.deploy.services.observation import Observation, observe
from penstock.deploy.services.observed import ObservedArtifacts, ObservedBus, ObservedLauncher
from penstock.runners.completion import KeptLogs
from penstock.runners.devices import Devices
from penstock.runners.docker.owner import Owner
from penstock.runners.gpus import own_gpus
from penstock.runners.known_secrets import ResolveSecret, secret_of_runner
from penstock.runners.launchers.chosen import LauncherByIsolation
from penstock.runners.launchers.docker import DockerLauncher
from penstock.runners.launchers.on_gpus import LauncherOnGpus
from penstock.runners.launchers.process import ProcessLauncher
from penstock.runners.log_feed import LogFeed
from penstock.runners.presence import Identity, Machine
from penstock.runners.provision import Provision
from penstock.runners.runner import Runner
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.bus import Bus
from penstock.transport.checkpoint_stores.by_url import open_checkpoints
from penstock.transport.checkpoints import CheckpointStore

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.runner")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a runner works. `folder` is shared by all runners of the machine. `slot_gpus`: how many GPUs a slot of each pool has; a
    laptop that is not `is_strict` hides none from steps that state none."""

    folder: Path
    workspace: str
    slot_gpus: Mapping[str, float] = field(default_factory=dict[str, float])
    is_strict: bool = True
    services: Sequence[Service] = ()
    """The steps that it serves, in lanes among its pools."""
    checkpoints: CheckpointStore | None = None
    """None: checkpoints stay on this machine."""
    resolve_secret: ResolveSecret = secret_of_runner
    state: Path | None = None
    """What is kept between attempts; None: a folder of its own in `folder`."""


async def serve_runner(
    pools: Mapping[str, int],
    slot_gpus: Mapping[str, float],
    name: str,
    settings: ServiceSettings,
    lifetime: Lifetime,
    services: Sequence[Service] = (),
) -> None:
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
        checkpoints = await stack.enter_async_context(open_checkpoints(settings.needed("artifacts_url")))
        place = Place(settings.cache_folder, settings.workspace, slot_gpus, services=services, checkpoints=checkpoints)
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
    place: Place,
    seen: Observation,
    lifetime: Lifetime,
) -> AsyncGenerator[Runner]:
    """A runner whose work is counted and traced."""
    gpus = await asyncio.to_thread(own_gpus)
    devices = Devices(lambda: gpus, shares=place.slot_gpus, is_strict=place.is_strict, locks=place.folder / "gpus")
    observed_bus = ObservedBus(bus, seen.metrics)
    feed = LogFeed(observed_bus)
    identity = Identity(
        name=name,
        incarnation=secrets.token_hex(8),
        workspace=place.workspace,
        pools=pools,
        machine=Machine(host=host_name(), software=version("penstock"), gpus=len(gpus)),
        services=place.services,
    )
    launcher = await _launcher(ObservedArtifacts(artifacts, seen.metrics), devices, feed, identity, place, seen)
    try:
        yield Runner(
            observed_bus,
            launcher,
            identity,
            on_drain=lambda: lifetime.stop("it was asked to drain"),
            feed=feed,
            logs=KeptLogs(artifacts, _state(place)),
        )
    finally:
        await launcher.close()


async def _launcher(
    artifacts: ArtifactStore, devices: Devices, feed: LogFeed, identity: Identity, place: Place, seen: Observation
) -> ObservedLauncher:
    """Executes steps in processes of this machine, and in containers where it has an engine for them."""
    state = _state(place)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    provision = Provision(resolve_secret=place.resolve_secret, devices=devices.of, feed=feed, checkpoints=place.checkpoints)
    processes = ProcessLauncher(artifacts, state, provision, slots=sum(identity.pools.values()))
    containers: DockerLauncher | None = None
    if has_docker():
        owner = Owner(runner=identity.name, incarnation=identity.incarnation)
        containers = DockerLauncher(artifacts, state, owner, provision)
        await _clear(containers)
    chosen = LauncherOnGpus(LauncherByIsolation(processes, containers), devices)
    return ObservedLauncher(chosen, seen.metrics, identity.pools, seen.tracer, lambda: processes.zygotes_started)


def _state(place: Place) -> Path:
    """What the machine's runners keep between attempts."""
    return place.state or place.folder / "runner"


async def _clear(containers: DockerLauncher) -> None:
    """Of what this runner's earlier incarnations left. Without an engine it can still work in processes."""
    try:
        if count := await containers.clear_leftovers():
            log.info("containers.cleared", count=count)
    except InfrastructureError as error:
        log.warning("containers.not_reached", reason=str(error), consequence="steps in containers are released until it can be")


def has_docker() -> bool:
    """Whether a container engine is named, or is where it usually is."""
    return bool(os.environ.get("DOCKER_HOST")) or Path("/var/run/docker.sock").exists()
