"""The relay of outgoing events, beside a coordinator."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import product

from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.dependencies import now
from penstock.deploy.services.metrics import Metrics
from penstock.deploy.services.webhook_sender import webhook_sender
from penstock.engine.outgoing.relay import OutgoingRelay, RelayPorts
from penstock.engine.store import Store
from penstock.transport.bus import Bus


@asynccontextmanager
async def relaying(bus: Bus, store: Store, settings: ServiceSettings, metrics: Metrics) -> AsyncGenerator[OutgoingRelay]:
    """A relay at work. What it has in hand when it is left is delivered by another, a minute later."""
    key: str = settings.needed("signing_key")
    sent = metrics.counter("penstock_events_sent_total", "Tries to send events out, by where to and what came of them.", "to", "result")
    for to, result in product(("bus", "webhook"), ("done", "failed", "dead")):
        # A counter that begins with its first count hides that from whoever asks what has changed.
        sent.labels(to, result)
    async with webhook_sender(settings.webhooks_allowed) as sender:
        ports = RelayPorts(
            store=store, bus=bus, sender=sender, key=key.encode(), now=now, noted=lambda to, result: sent.labels(to, result).inc()
        )
        relay = OutgoingRelay(ports)
        serving = asyncio.create_task(relay.run())
        try:
            yield relay
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
