"""What a service shows of itself while it lives: health, metrics and logs of its loop."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.health import Health, HealthServer
from penstock.deploy.services.metrics import Metrics


@asynccontextmanager
async def observe(settings: ServiceSettings, health: Health) -> AsyncGenerator[Metrics]:
    """Serves health and metrics where the settings name an address.

    :raises InvalidInput: nobody can listen there.
    """
    metrics = Metrics(health)
    async with AsyncExitStack() as stack:
        if settings.health_address is not None:
            stack.enter_context(HealthServer(settings.health_address, health, metrics.text))
        pulse = asyncio.create_task(health.run())
        try:
            yield metrics
        finally:
            pulse.cancel()
