"""Services in a thread of the test: API, coordinator and runner on a bus in memory, a state database and a folder of their own."""

import asyncio
import random
import socket
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.api import server
from penstock.deploy.services.api_service import open_people
from penstock.engine.api.app import create_app
from penstock.engine.api.authentication import People
from penstock.engine.api.services import now
from penstock.engine.api.settings import ApiSettings
from penstock.engine.coordinator import Coordinator, CoordinatorSettings
from penstock.engine.store import Store
from penstock.engine.stores.sqlite import SqliteStore
from penstock.runners.launchers.process import ProcessLauncher
from penstock.runners.presence import Identity
from penstock.runners.runner import Pace, Runner
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from penstock.transport.bus import Bus
from penstock.transport.buses.memory import MemoryBus

T = TypeVar("T")
TOKEN = "a-token-of-tests-0123456789"
POOL = "cpu"


def free_port() -> int:
    """A port below those that the system gives to clients."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class ServedEngine:
    """`url` is where its API is. `slots` 0: no runner takes orders. Its slots stand for every pool if it `maps_pools`.
    Without a coordinator, runs are accepted and not begun. `issuer` tells who people are."""

    def __init__(
        self,
        folder: Path,
        *,
        slots: int = 2,
        has_coordinator: bool = True,
        port: int | None = None,
        maps_pools: bool = True,
        issuer: str | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.bus: Bus = MemoryBus()
        self.store: Store = SqliteStore(folder / "penstock.sqlite")
        self.artifacts = FolderArtifactStore(folder / "artifacts")
        self._slots = slots
        self._settings = ApiSettings(token=TOKEN)
        self._logins = ServiceSettings(oidc_issuer=issuer, oidc_client_id="penstock-cli")
        self._has_coordinator = has_coordinator
        self._only_pool = POOL if maps_pools else None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._serving: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="served-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(20), "the API did not start"

    def stop(self) -> None:
        assert self._serving is not None
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Has the services' event loop do `work`."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _main(self) -> None:
        self._serving = asyncio.ensure_future(self._serve())
        await asyncio.gather(self._serving, return_exceptions=True)
        await self.store.close()

    async def _serve(self) -> None:
        async with open_people(self._logins) as people:
            await self._serve_for(people)

    async def _serve_for(self, people: People | None) -> None:
        app = create_app(self.store, self.bus, self.artifacts, self._settings, people=people)
        listening = server(app, "127.0.0.1", self.port)
        launcher = ProcessLauncher(self.artifacts, self.folder / "runner", slots=max(1, self._slots))
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._has_coordinator:
                    tasks.create_task(self._coordinator().run())
                if self._slots:
                    runner = Runner(
                        self.bus, launcher, Identity(name="runner-1", incarnation="1", pools={POOL: self._slots}), pace=Pace(heartbeat=0.3)
                    )
                    tasks.create_task(runner.run())
                serving = tasks.create_task(listening.serve())
                while not listening.started:
                    await asyncio.sleep(0.01)  # it has no event for it
                self._ready.set()
                try:
                    await asyncio.shield(serving)
                finally:
                    listening.should_exit = True
                    await asyncio.wait([serving])
        finally:
            await launcher.close()

    def _coordinator(self) -> Coordinator:
        settings = CoordinatorSettings(name="coordinator-1", token_key=b"key", only_pool=self._only_pool)
        return Coordinator(self.bus, self.store, self.artifacts, settings, now)


@contextmanager
def served(folder: Path, **settings: Any) -> Generator[ServedEngine]:
    """Services that end with the block."""
    engine = ServedEngine(folder, **settings)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Returns when `condition` holds."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise TimeoutError("it never held")
