"""`penstock coordinator`: one of any number of coordinators on the same bus and store."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from penstock.deploy.declared_datastores import ResolveSecret
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.coordinator_metrics import CoordinatorMetrics
from penstock.deploy.services.dependencies import ARTIFACTS, BROKER, DATABASE, now, open_artifacts, open_bus, open_store
from penstock.deploy.services.event_service import event_service, keeping_dead_events
from penstock.deploy.services.health import Health
from penstock.deploy.services.lifetime import Lifetime
from penstock.deploy.services.observation import Observation, observe
from penstock.deploy.services.observed import ObservedArtifacts, ObservedBus, ObservedStore
from penstock.deploy.services.outgoing import relaying
from penstock.engine.coordinator import Coordinator, CoordinatorSettings
from penstock.engine.events.service import EventService
from penstock.engine.shared_entries import SharedEntries
from penstock.engine.store import Store
from penstock.runners.known_secrets import secret_of_runner
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.bus import DEAD, INBOX, INGEST, Bus, work_queue
from penstock.transport.buses.rabbitmq.mending import Mending
from penstock.transport.shared_caches.by_url import open_shared_cache

Ports = tuple[Bus, Store, ArtifactStore]


@dataclass(frozen=True, slots=True)
class Deciders:
    """A coordinator, and the event service that makes runs for it."""

    coordinator: Coordinator
    events: EventService

    async def run(self) -> None:
        """Serves until it is cancelled, or `drain` was called and what both had begun is committed and acknowledged."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.events.run())
            tasks.create_task(self.coordinator.run())

    def drain(self) -> None:
        """Has `run` end soon."""
        self.events.drain()
        self.coordinator.drain()


@dataclass(frozen=True, slots=True)
class Share:
    """The runs of `owner`, in a state folder where other processes drive theirs. `is_gone`: whether one of those is, for good."""

    owner: str
    is_gone: Callable[[str], bool]


def _is_never_gone(owner: str) -> bool:
    return False


async def serve_coordinator(name: str, settings: ServiceSettings, lifetime: Lifetime) -> None:
    """Serves until it is asked to stop; then what is in its hands is committed and acknowledged.

    :raises InvalidInput: a setting is missing.
    """
    for needed in ("broker_url", "database_url", "artifacts_url", "signing_key"):
        settings.needed(needed)
    health = Health((BROKER, DATABASE, ARTIFACTS))
    async with AsyncExitStack() as stack:
        seen = await stack.enter_async_context(observe("coordinator", name, settings, health))
        bus = await stack.enter_async_context(open_bus(settings, name, health))
        store = await stack.enter_async_context(open_store(settings, health))
        artifacts = await stack.enter_async_context(open_artifacts(settings, health))
        deciders = await stack.enter_async_context(observed_coordinator((bus, store, artifacts), name, settings, seen))

        def drain() -> None:
            health.is_draining = True
            deciders.drain()

        def queues() -> list[str]:
            return [INBOX, INGEST, DEAD, *(work_queue(workspace, pool) for workspace, pool in deciders.coordinator.pools)]

        mending = asyncio.create_task(Mending(settings.needed("broker_url"), queues).run())
        stack.callback(mending.cancel)
        await lifetime.serve(deciders.run(), drain, settings.drain_seconds)


@asynccontextmanager
async def observed_coordinator(
    ports: Ports,
    name: str,
    settings: ServiceSettings,
    seen: Observation,
    *,
    only_pool: str | None = None,
    share: Share | None = None,
    resolve_secret: ResolveSecret = secret_of_runner,
) -> AsyncGenerator[Deciders]:
    """A coordinator of every run, or of one's share of them, and an event service beside it; their work is counted and traced meanwhile."""
    bus, store, artifacts = ports
    notes = CoordinatorMetrics(seen.metrics, seen.tracer)
    looking = asyncio.create_task(notes.run(store))
    key: str = settings.needed("signing_key")
    observed_ports = ObservedBus(bus, seen.metrics), ObservedStore(store, seen.metrics), ObservedArtifacts(artifacts, seen.metrics)
    try:
        async with _shared_entries(settings) as shared, relaying(observed_ports[0], observed_ports[1], settings, seen.metrics) as relay:

            def told() -> None:
                relay.wake()
                events.wake()

            own = CoordinatorSettings(
                name=name,
                token_key=key.encode(),
                patience_seconds=settings.patience_seconds,
                only_pool=only_pool,
                owner=share.owner if share is not None else None,
                is_gone=share.is_gone if share is not None else _is_never_gone,
                observations=notes,
                shared=shared,
                told=told,
                keep_event=keeping_dead_events(observed_ports[1], settings.workspace),
            )
            coordinator = Coordinator(*observed_ports, own, now)
            events = event_service(observed_ports, coordinator, seen.metrics, settings, owner=own.owner, resolve_secret=resolve_secret)
            # A place may be free for what a trigger has queued.
            notes.on_end = events.runs_ended
            yield Deciders(coordinator, events)
    finally:
        looking.cancel()
        # Runs that ended in the last seconds.
        await notes.look(store)


@asynccontextmanager
async def _shared_entries(settings: ServiceSettings) -> AsyncGenerator[SharedEntries | None]:
    if settings.cache_shared == "off":
        yield None
        return
    async with open_shared_cache(settings.needed("artifacts_url")) as cache:
        yield SharedEntries(cache, writes=settings.cache_shared == "read-write")
