"""Ports with eyes: each hands every call on, and counts and times it. So neither engine nor runners know of metrics."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from typing_extensions import override

from penstock.contracts.errors import BusUnavailable, StoreUnavailable
from penstock.contracts.messages import Completed, Order
from penstock.contracts.spec import StepSpec
from penstock.deploy.services.logs import bound
from penstock.deploy.services.metrics import LONG_SECONDS, Metrics
from penstock.deploy.services.traces import Tracer
from penstock.engine.store import Store
from penstock.runners.launcher import Launcher, ReportProgress
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.bus import Bus, Consumer, Envelope, Exchange, Listener

T = TypeVar("T")


class ObservedBus(Bus):
    """Counts calls that failed."""

    def __init__(self, bus: Bus, metrics: Metrics) -> None:
        self._bus = bus
        self._failures = metrics.bus_failures

    @override
    async def publish(self, envelope: Envelope) -> None:
        try:
            await self._bus.publish(envelope)
        except BusUnavailable:
            self._failures.labels("publish").inc()
            raise

    @override
    def consume(self, queue: str, *, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        return self._counted("consume", self._bus.consume(queue, prefetch=prefetch))

    @override
    def listen(self, exchange: Exchange, key: str = "#") -> AbstractAsyncContextManager[Listener]:
        return self._counted("listen", self._bus.listen(exchange, key))

    @asynccontextmanager
    async def _counted(self, call: str, context: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
        try:
            async with context as found:
                yield found
        except BusUnavailable:
            self._failures.labels(call).inc()
            raise


class ObservedStore(Store):
    """Times transactions, and counts those that had to be tried again."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._seconds = metrics.transaction_seconds
        self._again = metrics.transactions_retried
        self._failures = metrics.store_failures

    @property
    @override
    def is_concurrent(self) -> bool:
        return self._store.is_concurrent

    @override
    async def transaction(self, function: Callable[[Connection], T]) -> T:
        calls = 0

        def counted(connection: Connection) -> T:
            nonlocal calls
            calls += 1
            return function(connection)

        began = time.monotonic()
        try:
            return await self._store.transaction(counted)
        except StoreUnavailable:
            self._failures.inc()
            raise
        finally:
            self._seconds.observe(time.monotonic() - began)
            if calls > 1:
                self._again.inc(calls - 1)

    @override
    async def read(self, function: Callable[[Connection], T]) -> T:
        return await self._store.read(function)

    @override
    async def close(self) -> None:
        await self._store.close()


class ObservedArtifacts(ArtifactStore):
    """Times calls, and counts bytes that were given to the store."""

    def __init__(self, artifacts: ArtifactStore, metrics: Metrics) -> None:
        self._artifacts = artifacts
        self._up = metrics.artifact_bytes
        self._seconds = {call: metrics.artifact_seconds.labels(call) for call in ("write", "take", "local", "lost")}

    @property
    @override
    def staging(self) -> Path:
        return self._artifacts.staging

    @override
    async def write(self, data: bytes) -> str:
        self._up.inc(len(data))
        with self._seconds["write"].time():
            return await self._artifacts.write(data)

    @override
    async def take(self, staged: Path, digest: str) -> None:
        size = staged.stat().st_size  # noqa: ASYNC240 - it was just written
        with self._seconds["take"].time():
            await self._artifacts.take(staged, digest)
        self._up.inc(size)

    @override
    async def local(self, digest: str) -> Path:
        with self._seconds["local"].time():
            return await self._artifacts.local(digest)

    @override
    async def lost(self, digests: Iterable[str]) -> set[str]:
        with self._seconds["lost"].time():
            return await self._artifacts.lost(digests)

    @override
    async def delete(self, digest: str) -> None:
        await self._artifacts.delete(digest)


class ObservedLauncher(Launcher):
    """Counts attempts and binds what logs say of each. `tracer` writes a span of every attempt."""

    def __init__(
        self, launcher: Launcher, metrics: Metrics, pools: Mapping[str, int], tracer: Tracer | None, zygotes: Callable[[], int]
    ) -> None:
        self._launcher = launcher
        self._tracer = tracer
        metrics.gauge("penstock_zygotes_started", "Processes that imported a module to fork guests.").set_function(zygotes)
        self._running = metrics.gauge("penstock_attempts_running", "Attempts that are being executed here.", "pool")
        self._executed = metrics.counter("penstock_attempts_executed_total", "Attempts that were executed here.", "pool", "outcome")
        self._seconds = metrics.histogram("penstock_attempt_seconds", "What attempts took here.", "pool", buckets=LONG_SECONDS)
        slots = metrics.gauge("penstock_slots", "Attempts that may be executed here at a time.", "pool")
        for pool, count in pools.items():
            slots.labels(pool).set(count)
            self._running.labels(pool).set(0)

    @override
    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        began = time.time_ns()
        completed: Completed | None = None
        with bound(run=order.run_name, step="/".join([step.name, *map(str, order.index)]), attempt=order.attempt.attempt_no):
            self._running.labels(order.pool).inc()
            try:
                completed = ended_as = await self._launcher.execute(order, step, progress)
            finally:
                self._running.labels(order.pool).dec()
                outcome = completed.outcome.value if completed is not None else "not_executed"
                self._executed.labels(order.pool, outcome).inc()
                ended = time.time_ns()
                self._seconds.labels(order.pool).observe((ended - began) / 1e9)
                if self._tracer is not None:
                    self._tracer.execution(order, step, (began // 1000, ended // 1000), completed)
        return ended_as

    @override
    async def close(self) -> None:
        await self._launcher.close()
