"""Metrics of a service for Prometheus: one registry a process, names that begin with `penstock_`. Only services import this."""

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from penstock.deploy.services.health import Health

# Half as many series; Prometheus does not read them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it tells no type

SHORT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
LONG_SECONDS = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0)
SIZES = (1, 2, 5, 10, 20, 50, 100, 300)


class Metrics:
    """What every service tells: its version, its loop's lag, and what of its surroundings it reaches."""

    def __init__(self, health: Health) -> None:
        self.registry = CollectorRegistry()
        self._health = health
        lag = self.gauge("penstock_loop_lag_seconds", "How late the event loop was at its last pulse.")
        lag.set_function(lambda: health.loop_lag_seconds)
        self.gauge("penstock_build_info", "1, with the version of Penstock.", "version").labels(version("penstock")).set(1)
        self.registry.register(_Dependencies(health))
        self.bus_failures = self.counter("penstock_bus_failures_total", "Calls of the bus that failed, by what was attempted.", "call")
        self.artifact_bytes = self.counter("penstock_artifact_bytes_total", "Bytes that were given to the artifact store.")
        self.transaction_seconds = self.histogram("penstock_transaction_seconds", "What transactions took.", buckets=SHORT_SECONDS)
        self.transactions_retried = self.counter(
            "penstock_transactions_retried_total", "Transactions that met another one and were tried again."
        )
        self.store_failures = self.counter("penstock_store_failures_total", "Transactions that the store could not take.")
        self.artifact_seconds = self.histogram(
            "penstock_artifact_seconds", "What calls of the artifact store took.", "call", buckets=SHORT_SECONDS
        )

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def text(self) -> bytes:
        """What Prometheus reads."""
        return generate_latest(self.registry)


class _Dependencies(Collector):
    """Read when asked for: what is up may be named only after the registry was made."""

    def __init__(self, health: Health) -> None:
        self._health = health

    @override
    def collect(self) -> list[Metric]:
        family = GaugeMetricFamily("penstock_dependency_up", "Whether it can be reached.", labels=["dependency"])
        for name, reason in self._health.reasons.items():
            family.add_metric([name], 0.0 if reason else 1.0)
        return [family]
