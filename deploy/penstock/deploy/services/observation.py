"""What a service shows of itself while it lives: health and metrics on an address, traces where the environment names a receiver."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.health import Health, HealthServer
from penstock.deploy.services.metrics import Metrics
from penstock.deploy.services.traces import Tracer


@dataclass(frozen=True, slots=True)
class Observation:
    """Where a service writes what it sees of itself."""

    health: Health
    metrics: Metrics
    tracer: Tracer | None


@asynccontextmanager
async def observe(service: str, name: str, settings: ServiceSettings, health: Health) -> AsyncGenerator[Observation]:
    """Serves health and metrics where the settings name an address.

    :raises InvalidInput: nobody can listen there.
    """
    metrics = Metrics(health)
    async with AsyncExitStack() as stack:
        if settings.health_address is not None:
            stack.enter_context(HealthServer(settings.health_address, health, metrics.text))
        tracer = Tracer.where_wanted(service, name)
        if tracer is not None:
            stack.push_async_callback(asyncio.to_thread, tracer.close)
        pulse = asyncio.create_task(health.run())
        stack.callback(pulse.cancel)
        yield Observation(health, metrics, tracer)
