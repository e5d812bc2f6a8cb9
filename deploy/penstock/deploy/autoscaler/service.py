"""`penstock autoscaler`: the service around the autoscaler: its settings, its health, its metrics."""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from penstock.deploy.autoscaler.autoscaler import Autoscaler, Pace, PoolStatus
from penstock.deploy.autoscaler.definitions import Definitions, PoolSource, RunnerTemplate
from penstock.deploy.autoscaler.fleet_source import ApiFleet, FleetView
from penstock.deploy.autoscaler.hosts import RunnerHost
from penstock.deploy.remote.connection import Connection
from penstock.deploy.service_settings import PREFIX, ServiceSettings
from penstock.deploy.services.health import Health
from penstock.deploy.services.lifetime import Lifetime
from penstock.deploy.services.metrics import Metrics
from penstock.deploy.services.observation import observe
from penstock.runners.gpus import own_gpus

LOOK = "pools and runners"
"""What it must be able to see, in its readiness."""
_PATIENT_SECONDS = "86400"
"""So long a runner that is drained may finish what it began, if nobody says otherwise."""
_HANDED_ON = ("AWS_", "OTEL_", f"{PREFIX}SECRET_")
_OWN = frozenset(PREFIX + name for name in (
    "DATABASE_URL", "DATABASE_URL_FILE", "SIGNING_KEY", "SIGNING_KEY_FILE", "API_TOKEN", "API_TOKEN_FILE", "API_URL", "NAME",
    "HEALTH_ADDRESS", "BROKER_URL_FILE", "BROKER_MANAGEMENT_URL", "BROKER_MANAGEMENT_URL_FILE", "PROFILE",
))  # fmt: skip
"""No runner needs these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerOptions:
    """`config` None: the pools that the API knows. `network` None: as the file says. `drains_at_end`: its end is its runners' too."""

    config: Path | None
    host: Literal["docker", "local"]
    network: str | None = None
    owner: str = "default"
    drains_at_end: bool = False
    pace: Pace


async def serve_autoscaler(options: AutoscalerOptions, name: str, settings: ServiceSettings, lifetime: Lifetime) -> None:
    """Serves until it is asked to stop. Its runners go on; the next one finds them.

    :raises InvalidInput: a setting is missing, or the file can't be used.
    """
    definitions = Definitions(options.config) if options.config is not None else None
    pools = PoolSource(definitions, needs_image=options.host == "docker")
    pools.pools(FleetView())
    template = definitions.template() if definitions is not None else RunnerTemplate()
    connection = Connection(settings.needed("api_url"), _plain(settings.api_token))
    health = Health((LOOK,))
    async with AsyncExitStack() as stack:
        stack.callback(connection.close)
        seen = await stack.enter_async_context(observe("autoscaler", name, settings, health))
        host = _host(options, template, settings)
        stack.push_async_callback(host.close)
        gauges = _Gauges(seen.metrics, health)
        autoscaler = Autoscaler(host, ApiFleet(connection), pools.pools, pace=options.pace, show=gauges.show)
        health.watch(LOOK, autoscaler.check)

        def drain() -> None:
            health.is_draining = True
            autoscaler.stop()

        await lifetime.serve(autoscaler.run(), drain, settings.drain_seconds)
        if options.drains_at_end:
            await autoscaler.drain_all()


def runner_environment(settings: ServiceSettings, surroundings: Mapping[str, str], *, is_local: bool) -> dict[str, str]:
    """The variables that runners take over: where broker and artifacts are and the credentials for them. A container gets no others."""
    given = {
        "BROKER_URL": _plain(settings.broker_url),
        "ARTIFACTS_URL": settings.artifacts_url,
        "WORKSPACE": settings.workspace,
        "DRAIN_SECONDS": surroundings.get(f"{PREFIX}DRAIN_SECONDS", _PATIENT_SECONDS),
        "LOG_FORMAT": surroundings.get(f"{PREFIX}LOG_FORMAT"),
        "CACHE_FOLDER": str(settings.cache_folder) if is_local else None,
    }
    inherited = {name: value for name, value in surroundings.items() if name not in _OWN and (is_local or name.startswith(_HANDED_ON))}
    return inherited | {PREFIX + name: value for name, value in given.items() if value is not None}


def _host(options: AutoscalerOptions, template: RunnerTemplate, settings: ServiceSettings) -> RunnerHost:
    gpus = template.gpus if template.gpus is not None else [gpu.uuid for gpu in own_gpus()]
    environment = runner_environment(settings, os.environ, is_local=options.host == "local")
    if options.host == "local":
        from penstock.deploy.autoscaler.hosts_local import LocalHost  # noqa: PLC0415  # one of the two

        folder = settings.cache_folder / "autoscaler" / options.owner
        return LocalHost(folder, environment | template.environment, gpus=gpus)
    from penstock.deploy.autoscaler.hosts_docker import DockerHost  # noqa: PLC0415  # one of the two

    if options.network is not None:
        template = template.model_copy(update={"network": options.network})
    return DockerHost(template, environment, owner=options.owner, gpus=gpus)


class _Gauges:
    """Shows each pool in metrics, and in readiness where its runners can't be started."""

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self._health = health
        self._wanted = metrics.gauge("penstock_autoscaler_wanted", "Runners that demand asks for, within the pool's bounds.", "pool")
        self._runners = metrics.gauge("penstock_autoscaler_runners", "Runners that are there, draining ones too.", "pool")
        self._draining = metrics.gauge("penstock_autoscaler_draining", "Runners that end when they have finished.", "pool")
        self._failing = metrics.gauge("penstock_autoscaler_failing", "1 where the last try to start a runner failed.", "pool")

    def show(self, pool: str, status: PoolStatus) -> None:
        self._wanted.labels(pool).set(status.wanted)
        self._runners.labels(pool).set(status.runners)
        self._draining.labels(pool).set(status.draining)
        self._failing.labels(pool).set(bool(status.reason))
        self._health.learn(f"pool {pool}", status.reason)


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
