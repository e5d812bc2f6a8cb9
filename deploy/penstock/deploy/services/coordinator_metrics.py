"""Metrics of a coordinator: its batches and transactions, how runs and steps end, and what waits in the whole system."""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import chain

import structlog
from prometheus_client import Gauge
from typing_extensions import override

from penstock.contracts.errors import StoreUnavailable
from penstock.contracts.messages import Completed
from penstock.deploy.services.dependencies import now as now_in_microseconds
from penstock.deploy.services.event_gauges import EventGauges
from penstock.deploy.services.metrics import LONG_SECONDS, SHORT_SECONDS, SIZES, Metrics
from penstock.deploy.services.traces import Tracer
from penstock.engine.backlog import Backlog, EndedRun, backlog, ended_run
from penstock.engine.batch import Outcome
from penstock.engine.event_backlog import event_backlog
from penstock.engine.histories import past_run
from penstock.engine.inbox import Batch
from penstock.engine.observations import Observations
from penstock.engine.pools import PoolKey
from penstock.engine.store import Store

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.metrics")

LOOK_SECONDS = 5.0
REMEMBERED = 10_000
"""Runs that ended and were not looked at yet."""


def _nothing() -> None:
    """Nobody waits for it."""


class CoordinatorMetrics(Observations):
    """Notes on the coordinator's path; `run` looks at the rows now and then, on a connection of its own."""

    def __init__(self, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._tracer = tracer
        self.on_end: Callable[[], None] = _nothing
        """Hears that runs have ended."""
        self._ended: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)
        """Runs, and since when: a late report tells once more of the end of a run that ended before."""
        self.batch_size = metrics.histogram("penstock_batch_size", "Messages that one transaction took in.", buckets=SIZES)
        self.batch_seconds = metrics.histogram(
            "penstock_batch_seconds", "From a batch's beginning to its acknowledgement.", buckets=SHORT_SECONDS
        )
        self.attempts = metrics.counter("penstock_attempts_ended_total", "Attempts that were reported as ended, by outcome.", "outcome")
        self.attempt_seconds = metrics.histogram("penstock_user_code_seconds", "What user code took.", buckets=LONG_SECONDS)
        self.order_to_start = metrics.histogram(
            "penstock_order_to_start_seconds",
            "From an order to its user code, in runs that ended.",
            buckets=SHORT_SECONDS,
        )
        self.orders = metrics.counter("penstock_orders_total", "Orders that were sent, by pool.", "pool")
        self.runs_ended = metrics.counter("penstock_runs_ended_total", "Runs that ended, by state.", "workspace", "state")
        self.steps_ended = metrics.counter(
            "penstock_step_runs_ended_total", "Step runs of runs that ended, by state.", "workspace", "state"
        )
        self.cache = metrics.counter("penstock_cache_lookups_total", "Step runs of runs that ended: hit or miss.", "workspace", "result")
        self._runs = metrics.gauge("penstock_runs", "Runs that have not ended, by state.", "workspace", "state")
        self._ready = metrics.gauge("penstock_pool_ready", "Step runs that wait for a slot.", "workspace", "pool")
        self._live = metrics.gauge("penstock_pool_attempts", "Attempts that are dispatched and not closed.", "workspace", "pool", "state")
        self._demand = metrics.gauge("penstock_pool_demand", "Ready, dispatched and running: for autoscalers.", "workspace", "pool")
        self._demanded: set[PoolKey] = set()
        self._events = EventGauges(metrics)

    @override
    def committed(self, batch: Batch, outcome: Outcome, seconds: float) -> None:
        self.batch_seconds.observe(seconds)
        if batch.deliveries:
            self.batch_size.observe(len(batch.deliveries))
        for fact in chain.from_iterable(batch.facts.values()):
            if isinstance(fact, Completed):
                self.attempts.labels(fact.outcome.value).inc()
                self.attempt_seconds.observe(fact.seconds)
        for order in outcome.orders:
            self.orders.labels(order.pool).inc()
        since = now_in_microseconds() - int(seconds * 1_000_000) - 1_000
        self._ended.extend((run_no, since) for run_no in outcome.ended)
        if outcome.ended:
            self.on_end()

    async def run(self, store: Store) -> None:
        """Looks at the rows until it is cancelled."""
        while True:
            await self.look(store)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, store: Store) -> None:
        """Once."""
        try:
            self._show(await store.read(backlog))
            self._events.show(await store.read(event_backlog), now_in_microseconds())
            while self._ended:
                await self._look_at(store, *self._ended[0])
                self._ended.popleft()
        except StoreUnavailable as error:
            log.info("metrics.outdated", reason=str(error))

    async def _look_at(self, store: Store, run_no: int, since: int) -> None:
        ended = await store.read(lambda connection: ended_run(connection, run_no))
        if ended is None or ended.ended_at < since:
            return
        if self._tracer is not None:
            past = await store.read(lambda connection: past_run(connection, run_no))
            if past is not None:
                self._tracer.run(past)
        self._count(ended)

    def _show(self, found: Backlog) -> None:
        _replace(self._runs, found.runs)
        _replace(self._ready, found.ready)
        states = {(*key, state): count for state in ("dispatched", "running") for key, count in getattr(found, state).items()}
        _replace(self._live, states)
        # A pool that was wanted once keeps its 0: an autoscaler that finds no figure does nothing.
        self._demanded |= set(found.demand)
        _replace(self._demand, dict.fromkeys(self._demanded, 0) | found.demand)

    def _count(self, run: EndedRun) -> None:
        self.runs_ended.labels(run.workspace, run.state).inc()
        for microseconds in run.beginnings:
            self.order_to_start.observe(max(0, microseconds) / 1_000_000)
        for (state, is_hit), count in run.step_runs.items():
            self.steps_ended.labels(run.workspace, state).inc(count)
            if state == "succeeded":
                self.cache.labels(run.workspace, "hit" if is_hit else "miss").inc(count)


def _replace(gauge: Gauge, values: dict[tuple[str, ...], int] | dict[tuple[str, str], int]) -> None:
    gauge.clear()
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
