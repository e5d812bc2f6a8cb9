"""The embedded engine: coordinator, runner, store and artifact store in this process, on an event loop in a thread of its own."""

import asyncio
import os
import secrets
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from penstock.contracts.errors import StoreUnavailable
from penstock.contracts.messages import Order, SubmitRun
from penstock.deploy.embedded.incarnation import Incarnation, is_alive
from penstock.deploy.embedded.launching import local_launcher
from penstock.deploy.embedded.shelf import NOT_SHARED, Opened, SharedArtifacts, SharedShelf, Shelf, open_artifacts
from penstock.engine.coordinator import Coordinator, CoordinatorSettings
from penstock.engine.shared_entries import SharedEntries
from penstock.engine.stores.sqlite import SqliteStore
from penstock.runners.launcher import Launcher
from penstock.runners.presence import Identity
from penstock.runners.runner import Runner
from penstock.sdk.runs.state_home import make_state_home
from penstock.transport.buses.memory import MemoryBus

T = TypeVar("T")

LOCAL_POOL = "local"
"""The queue of this process's slots, whatever pools a pipeline names."""


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class EmbeddedEngine:
    """Everything in one process. The store is open from the beginning; coordinator and runner start with the first run.

    :raises StateTooNew: a newer Penstock wrote the state folder.
    :raises StoreUnavailable: the state folder can't be used.
    """

    def __init__(self, home: Path, slots: int | None = None, shared: SharedArtifacts = NOT_SHARED) -> None:
        self.home = home
        self.slots = slots or max(2, os.cpu_count() or 1)
        try:
            make_state_home(home)
        except OSError as error:
            raise StoreUnavailable(
                f"the state folder {home} can't be used: {error.strerror} (name another one in PENSTOCK_HOME)"
            ) from error
        self.store = SqliteStore(home / "penstock.sqlite")
        self.projects: dict[str, Path] = {}
        """Snapshot digest to the folder that it was taken from."""
        self.incarnation: Incarnation | None = None
        self.coordinator: Coordinator | None = None
        self.runner: Runner | None = None
        self._serving: asyncio.Task[None] | None = None
        self._starting = threading.Lock()
        self._process = os.getpid()
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="penstock-engine", daemon=True)
        self._thread.start()
        self._sharing = shared.sharing
        self._stack = AsyncExitStack()
        self.opened = self._opened(shared)
        own = self.opened.own_folder
        self.shelf: Shelf = own if own is not None else SharedShelf(self.opened.store, self.call)

    def _opened(self, shared: SharedArtifacts) -> Opened:
        try:
            return self.call(self._stack.enter_async_context(open_artifacts(self.home / "artifacts", shared)))
        except BaseException:
            self.close()
            raise

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Has the event loop do `work`; waits for it.

        :raises StoreUnavailable: the engine is closed, or was before it was done; or this is a fork of the process that opened it.
        """
        if self._is_closed or not self._is_ours:
            work.close()
            raise self._gone()
        try:
            return self._done(work)
        except (CancelledError, RuntimeError) as error:
            if not self._is_closed:
                raise
            raise self._gone() from error

    @property
    def _is_ours(self) -> bool:
        """A fork has the engine's memory, but neither its threads nor a right to its connections."""
        return os.getpid() == self._process

    def _gone(self) -> StoreUnavailable:
        state = "closed" if self._is_ours else "another process's"
        return StoreUnavailable(f"the engine on {self.home} is {state}; connect to it again")

    def _done(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def serve(self) -> Coordinator:
        """Starts coordinator and runner, where they don't serve yet."""
        with self._starting:
            if self.coordinator is None:
                self.incarnation = Incarnation(self.home)
                self.coordinator = self.call(self._start(self.incarnation.name))
        return self.coordinator

    async def _start(self, incarnation: str) -> Coordinator:
        bus = MemoryBus()
        settings = CoordinatorSettings(
            name=incarnation,
            token_key=secrets.token_bytes(32),
            owner=incarnation,
            check_after_seconds=0.0,
            only_pool=LOCAL_POOL,
            is_gone=lambda owner: not is_alive(self.home, owner),
            shared=SharedEntries(cache, writes=self._sharing == "read-write") if (cache := self.opened.cache) is not None else None,
        )
        coordinator = Coordinator(bus, self.store, self.opened.store, settings, now)
        launcher = local_launcher(self.opened.store, self.home, self.slots, self._project_of, incarnation)
        pools = {LOCAL_POOL: self.slots}
        self.runner = runner = Runner(bus, launcher, Identity(name=f"local-{incarnation}", incarnation=incarnation, pools=pools))
        coordinator.set_slots(f"local-{incarnation}", pools)
        self._serving = asyncio.create_task(self._run(coordinator, runner, launcher))
        return coordinator

    async def _run(self, coordinator: Coordinator, runner: Runner, launcher: Launcher) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(coordinator.run())
                tasks.create_task(runner.run())
        finally:
            await launcher.close()

    def _project_of(self, order: Order) -> Path | None:
        return self.projects.get(order.snapshot.digest) if order.snapshot is not None else None

    def submit(self, request: SubmitRun) -> int:
        """Makes a run that this process drives; its number."""
        coordinator = self.serve()
        assert self.incarnation is not None  # noqa: S101 - made by serve
        return self.call(coordinator.submit(request.model_copy(update={"owner": self.incarnation.name})))

    def close(self) -> None:
        """Stops everything; runs that have not ended can be resumed. In a fork it does nothing: the engine is its parent's."""
        if self._is_closed or not self._is_ours:
            return
        self._is_closed = True
        if self.coordinator is not None and self.opened.cache is not None:
            self._done(self.coordinator.settled())
        if self._serving is not None:
            self._loop.call_soon_threadsafe(self._serving.cancel)
            self._done(_ended(self._serving))
        self._done(self._stack.aclose())
        self._done(self.store.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        # Whoever waits for something in another thread learns that it won't come.
        self._loop.run_until_complete(_abandoned())
        self._loop.close()
        if self.incarnation is not None:
            self.incarnation.close()


async def _abandoned() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.gather(task, return_exceptions=True)
