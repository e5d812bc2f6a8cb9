"""The event service beside a coordinator: the same bus and store, users' datastores, metrics."""

import os
from functools import partial
from pathlib import Path
from typing import get_args

from typing_extensions import override

from penstock.contracts.event_views import Outcome
from penstock.deploy.declared_datastores import ResolveSecret, open_datastores
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.dependencies import now
from penstock.deploy.services.metrics import SIZES, Metrics
from penstock.engine.coordinator import Coordinator
from penstock.engine.core.wants import Begin
from penstock.engine.dead_letters import KeepEvent
from penstock.engine.events.fetching import Fetching
from penstock.engine.events.observations import EventObservations
from penstock.engine.events.records import Decided
from penstock.engine.events.refusals import keep_dead_event
from penstock.engine.events.retention import Retention
from penstock.engine.events.service import EventService, EventSettings
from penstock.engine.events.watching import Watch
from penstock.engine.store import Store
from penstock.runners.known_secrets import secret_of_runner
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.bus import Bus, Delivery


def event_service(
    ports: tuple[Bus, Store, ArtifactStore],
    coordinator: Coordinator,
    metrics: Metrics,
    settings: ServiceSettings,
    *,
    owner: str | None = None,
    resolve_secret: ResolveSecret = secret_of_runner,
) -> EventService:
    """A service whose runs the coordinator begins.

    :raises InvalidInput: a datastore is declared wrongly.
    """
    bus, store, artifacts = ports
    datastores = open_datastores(artifacts, os.environ, Path.cwd(), resolve_secret)
    notes = EventMetrics(metrics)
    fetching = Fetching(store, datastores, artifacts, now, owner)
    watch = Watch(store, datastores, now, lambda: service.wake())
    retention = Retention(store, now, settings.events_kept_days)
    own = EventSettings(workspace=settings.workspace, owner=owner, observations=notes, others=(watch.run, retention.run))
    service = EventService(bus, store, own, now, lambda run_no: coordinator.tell(run_no, Begin()), fetching)
    return service


def keeping_dead_events(store: Store, workspace: str) -> KeepEvent:
    """Dead letters that were to be events are kept among the messages that nobody could read."""

    async def keep(delivery: Delivery, reason: str) -> None:
        await store.transaction(partial(keep_dead_event, delivery=delivery, reason=reason, now_us=now(), default_workspace=workspace))

    return keep


class EventMetrics(EventObservations):
    """Counters of what events become."""

    def __init__(self, metrics: Metrics) -> None:
        self._received = metrics.counter("penstock_events_received_total", "Events that were taken in, by whether they were new.", "result")
        self._decisions = metrics.counter("penstock_event_decisions_total", "Decisions of triggers about events, by outcome.", "outcome")
        self._runs = metrics.counter("penstock_event_runs_total", "Runs that triggers made.")
        # A counter that begins with its first count hides that from whoever asks what has changed.
        for outcome in get_args(Outcome):
            self._decisions.labels(outcome)
        self._batch = metrics.histogram("penstock_event_batch_size", "Events that one transaction decided.", buckets=SIZES)

    @override
    def decided(self, decided: Decided) -> None:
        self._received.labels("new").inc(decided.stored)
        self._received.labels("known").inc(decided.received - decided.stored)
        self._received.labels("conflict").inc(decided.conflicts)
        for outcome, count in decided.outcomes.items():
            self._decisions.labels(outcome).inc(count)
        self._runs.inc(len(decided.begun))
        if decided.events:
            self._batch.observe(decided.events)
