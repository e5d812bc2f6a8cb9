"""An engine client on the bus and the database of a cluster: runs go in as messages, and are read from the rows."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.errors import ContractError, InvalidInput
from penstock.contracts.messages import CancelRun, Message, SubmitRun, encode
from penstock.contracts.names import DEFAULT_WORKSPACE
from penstock.contracts.views import RunView, StepRunView, Why
from penstock.deploy.embedded.client import EmbeddedClient
from penstock.engine.queries import find_run, run_view, step_run_views
from penstock.engine.stores.postgres import PostgresStore
from penstock.engine.why import why
from penstock.transport.bus import Envelope, Exchange
from penstock.transport.buses.rabbitmq import RabbitBus

T = TypeVar("T")
_LOOK_SECONDS = 0.1
_APPEARS_SECONDS = 60.0


def _now() -> int:
    return time.time_ns() // 1000


class ClusterClient:
    """`EngineClient` of a cluster whose artifact store is the folder `artifacts` of `home`."""

    def __init__(self, home: Path, broker_url: str, database_url: str) -> None:
        self._files = EmbeddedClient(home)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cluster-client", daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()
        self._store = PostgresStore(database_url)
        self._bus = self._call(self._stack.enter_async_context(RabbitBus(broker_url, name="cluster-client")))

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    @property
    def home(self) -> Path:
        return self._files.home

    def put_bytes(self, data: bytes, *, media_type: str, suffix: str = "") -> ArtifactRef:
        return self._files.put_bytes(data, media_type=media_type, suffix=suffix)

    def put_path(self, path: Path) -> ArtifactRef:
        return self._files.put_path(path)

    def put_snapshot(self, files: dict[str, Path]) -> ArtifactRef:
        return self._files.put_snapshot(files)

    def local(self, ref: ArtifactRef) -> Path:
        return self._files.local(ref)

    def value_items(self, value: Value) -> list[Value]:
        return self._files.value_items(value)

    def publish(self, message: Message) -> None:
        """A command for the coordinators."""
        self._call(self._bus.publish(Envelope(exchange=Exchange.REPORTS, key="command", body=encode(message))))

    def send(self, envelope: Envelope) -> None:
        """Any message, to any exchange."""
        self._call(self._bus.publish(envelope))

    def submit(self, request: SubmitRun) -> RunView:
        self.publish(request)
        deadline = time.monotonic() + _APPEARS_SECONDS
        while True:
            try:
                return self.run(request.run_id)
            except ContractError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_LOOK_SECONDS / 5)

    def run(self, run: str) -> RunView:
        return self._read(lambda connection: run_view(connection, find_run(connection, DEFAULT_WORKSPACE, run), _now()))

    def runs(self, *, pipeline: str | None = None, limit: int = 20) -> list[RunView]:
        raise InvalidInput("not needed by any test")

    def step_runs(self, run: str, step: str | None = None, *, limit: int = 1000) -> list[StepRunView]:
        return self._read(lambda connection: step_run_views(connection, find_run(connection, DEFAULT_WORKSPACE, run), step, limit, _now()))

    def follow(self, run: str) -> Iterator[RunView]:
        previous: RunView | None = None
        while True:
            view = self.run(run)
            if view != previous:
                yield view
            if view.state.is_terminal:
                return
            previous = view
            time.sleep(_LOOK_SECONDS)

    def cancel(self, run: str, reason: str = "") -> None:
        self.publish(CancelRun(run_id=self.run(run).run_id, reason=reason))

    def resume(self, run: str) -> RunView:
        raise InvalidInput("coordinators resume runs by themselves")

    def why(self, run: str, step: str, index: tuple[int, ...] = ()) -> Why:
        return self._read(lambda connection: why(connection, DEFAULT_WORKSPACE, run, step, index, _now()))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the database, for what a test wants to see behind the views."""
        return self._read(lambda connection: [tuple(row) for row in connection.exec_driver_sql(sql)])

    def _read(self, function: Callable[[Connection], T]) -> T:
        return self._call(self._store.read(function))

    def close(self) -> None:
        self._call(self._stack.aclose())
        self._call(self._store.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._files.close()
