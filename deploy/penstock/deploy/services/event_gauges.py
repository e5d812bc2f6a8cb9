"""Gauges of events that wait for somebody: what operators are alerted by."""

from collections.abc import Mapping

from prometheus_client import Gauge

from penstock.deploy.services.metrics import Metrics
from penstock.engine.event_backlog import EventBacklog


class EventGauges:
    """Every coordinator shows the same."""

    def __init__(self, metrics: Metrics) -> None:
        self._events = metrics.gauge("penstock_events", "Events that are not decided (new), or could not be (dead).", "workspace", "state")
        self._unread = metrics.gauge("penstock_events_unread", "Messages that nobody could read as events, and that are kept.", "workspace")
        self._owed = metrics.gauge("penstock_events_owed", "Events that are still to go out.", "workspace")
        self._oldest = metrics.gauge("penstock_oldest_event_seconds", "How long the oldest waits: to be decided, to go out.", "state")

    def show(self, found: EventBacklog, now_us: int) -> None:
        _replace(self._events, {(workspace, "new"): count for workspace, count in found.new.items()})
        for workspace, count in found.dead.items():
            self._events.labels(workspace, "dead").set(count)
        _replace(self._unread, {(workspace,): count for workspace, count in found.unread.items()})
        _replace(self._owed, {(workspace,): count for workspace, count in found.owed.items()})
        for state, since in (("new", found.oldest_new), ("owed", found.oldest_owed)):
            self._oldest.labels(state).set(0 if since is None else max(0, now_us - since) / 1_000_000)


def _replace(gauge: Gauge, values: Mapping[tuple[str, ...], int]) -> None:
    gauge.clear()
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
