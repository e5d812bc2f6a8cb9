"""`penstock coordinator`: one of any number of coordinators on the same bus and store."""

import asyncio
from contextlib import AsyncExitStack

from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.coordinator_metrics import CoordinatorMetrics
from penstock.deploy.services.dependencies import ARTIFACTS, BROKER, DATABASE, now, open_artifacts, open_bus, open_store
from penstock.deploy.services.health import Health
from penstock.deploy.services.lifetime import Lifetime
from penstock.deploy.services.observation import observe
from penstock.deploy.services.observed import ObservedArtifacts, ObservedBus, ObservedStore
from penstock.engine.coordinator import Coordinator, CoordinatorSettings
from penstock.engine.observations import Observations


def coordinator_settings(settings: ServiceSettings, name: str, observations: Observations) -> CoordinatorSettings:
    """What a coordinator of every run needs to know.

    :raises InvalidInput: there is no signing key.
    """
    key: str = settings.needed("signing_key")
    return CoordinatorSettings(name=name, token_key=key.encode(), patience_seconds=settings.patience_seconds, observations=observations)


async def serve_coordinator(name: str, settings: ServiceSettings, lifetime: Lifetime) -> None:
    """Serves until it is asked to stop; then what is in its hands is committed and acknowledged."""
    for needed in ("broker_url", "database_url", "artifacts_url", "signing_key"):
        settings.needed(needed)
    health = Health((BROKER, DATABASE, ARTIFACTS))
    async with AsyncExitStack() as stack:
        seen = await stack.enter_async_context(observe("coordinator", name, settings, health))
        bus = await stack.enter_async_context(open_bus(settings, name, health))
        store = await stack.enter_async_context(open_store(settings, health))
        artifacts = await stack.enter_async_context(open_artifacts(settings, health))
        notes = CoordinatorMetrics(seen.metrics, seen.tracer)
        looking = asyncio.create_task(notes.run(store))
        stack.callback(looking.cancel)
        coordinator = Coordinator(
            ObservedBus(bus, seen.metrics),
            ObservedStore(store, seen.metrics),
            ObservedArtifacts(artifacts, seen.metrics),
            coordinator_settings(settings, name, notes),
            now,
        )

        def drain() -> None:
            health.is_draining = True
            coordinator.drain()

        await lifetime.serve(coordinator.run(), drain, settings.drain_seconds)
        await notes.look(store)
