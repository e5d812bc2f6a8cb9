"""The gauges by which operators learn of events that wait."""

from penstock.deploy.services.coordinator_metrics import CoordinatorMetrics
from penstock.deploy.services.event_gauges import EventGauges
from penstock.deploy.services.health import Health
from penstock.deploy.services.metrics import Metrics
from penstock.engine.event_backlog import EventBacklog
from penstock.engine.stores.sqlite import MemoryStore

SECOND = 1_000_000
NOTHING = EventBacklog(new={}, dead={}, unread={}, owed={}, oldest_new=None, oldest_owed=None)


def test_gauges_show_what_waits_and_forget_what_no_longer_does() -> None:
    metrics = Metrics(Health())
    gauges = EventGauges(metrics)

    gauges.show(
        EventBacklog(new={"a": 3}, dead={"a": 1}, unread={"b": 2}, owed={"b": 5}, oldest_new=90 * SECOND, oldest_owed=40 * SECOND),
        100 * SECOND,
    )
    shown = metrics.text().decode()
    gauges.show(NOTHING, 100 * SECOND)
    empty = metrics.text().decode()

    for line in (
        'penstock_events{state="new",workspace="a"} 3.0',
        'penstock_events{state="dead",workspace="a"} 1.0',
        'penstock_events_unread{workspace="b"} 2.0',
        'penstock_events_owed{workspace="b"} 5.0',
        'penstock_oldest_event_seconds{state="new"} 10.0',
        'penstock_oldest_event_seconds{state="owed"} 60.0',
    ):
        assert line in shown
    assert "workspace=" not in empty
    assert 'penstock_oldest_event_seconds{state="new"} 0.0' in empty, "an alert has a figure where nothing waits"


async def test_a_coordinator_shows_them() -> None:
    metrics, store = Metrics(Health()), MemoryStore()

    await CoordinatorMetrics(metrics).look(store)

    assert 'penstock_oldest_event_seconds{state="owed"} 0.0' in metrics.text().decode()
    await store.close()
