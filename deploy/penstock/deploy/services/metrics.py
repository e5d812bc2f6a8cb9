"""Metrics of a service for Prometheus."""

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from penstock.deploy.services.health import Health


class Metrics:
    """One registry a process. All names begin with `penstock_`."""

    def __init__(self, health: Health) -> None:
        self.registry = CollectorRegistry()
        lag = Gauge("penstock_loop_lag_seconds", "How late the event loop was at its last pulse.", registry=self.registry)
        lag.set_function(lambda: health.loop_lag_seconds)

    def text(self) -> bytes:
        """What Prometheus reads."""
        return generate_latest(self.registry)
