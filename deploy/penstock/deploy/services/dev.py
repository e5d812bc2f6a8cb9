"""`penstock dev`: coordinator, runner and API in one process, on given services or on none."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from penstock.deploy.embedded.incarnation import DEV, Incarnation, is_alive
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.api_service import Door, api_server
from penstock.deploy.services.coordinator import Share, observed_coordinator
from penstock.deploy.services.dependencies import ARTIFACTS, BROKER, DATABASE, open_artifacts, open_bus, open_store
from penstock.deploy.services.health import Health
from penstock.deploy.services.lifetime import Lifetime
from penstock.deploy.services.local_secrets import dev_folder, kept_secret
from penstock.deploy.services.observation import observe
from penstock.deploy.services.runner import Place, observed_runner
from penstock.deploy.user_secrets import secret_of_user
from penstock.engine.store import Store
from penstock.engine.stores.sqlite import SqliteStore
from penstock.sdk.runs.state_home import make_state_home
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from penstock.transport.bus import Bus
from penstock.transport.buses.memory import MemoryBus
from penstock.transport.checkpoint_stores.by_url import open_checkpoints
from penstock.transport.checkpoints import CheckpointStore

LOCAL_POOL = "local"
"""Stands for every pool that a pipeline names, where no pools are given."""
LOCAL_PATIENCE_SECONDS = 10.0
"""Nothing between coordinator and runner can be lost for longer than a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevOptions:
    """`pools` None: the slots of this machine stand for all pools. `home` is the project's state folder, in which runs, artifacts and
    cache are those of `penstock run` too. `tell` shows a line to whoever started it."""

    host: str
    port: int
    pools: Mapping[str, int] | None
    home: Path
    tell: Callable[[str], None]


def completed_settings(settings: ServiceSettings, home: Path) -> ServiceSettings:
    """With a token and a signing key, made and kept in the state folder where nobody gave any."""
    make_state_home(home)
    folder = dev_folder(home)
    made = {
        name: SecretStr(kept_secret(folder / name.replace("_", "-")))
        for name in ("api_token", "signing_key")
        if getattr(settings, name) is None
    }
    local = {} if settings.broker_url is not None else {"patience_seconds": min(settings.patience_seconds, LOCAL_PATIENCE_SECONDS)}
    return settings.model_copy(update=made | local)


async def serve_dev(options: DevOptions, name: str, settings: ServiceSettings, lifetime: Lifetime) -> None:
    """Serves until it is asked to stop: the runner finishes what it began, then the coordinator ends.

    :raises InvalidInput: another `penstock dev` serves this state folder.
    """
    health = Health((BROKER, DATABASE, ARTIFACTS))
    pools = options.pools or {LOCAL_POOL: max(2, os.cpu_count() or 1)}
    async with AsyncExitStack() as stack:
        stack.callback(Incarnation(options.home, DEV).close)
        seen = await stack.enter_async_context(observe("dev", name, settings, health))
        bus = await stack.enter_async_context(_bus(settings, name, health))
        store = await stack.enter_async_context(_store(settings, options.home, health))
        artifacts = await stack.enter_async_context(_artifacts(settings, options.home, health))
        only_pool = LOCAL_POOL if options.pools is None else None
        checkpoints = await stack.enter_async_context(_checkpoints(settings))
        place = Place(
            dev_folder(options.home),
            settings.workspace,
            is_strict=options.pools is not None,
            checkpoints=checkpoints,
            resolve_secret=secret_of_user,
            state=options.home,
        )
        # Others who use the state folder drive runs of their own in it.
        share = Share(DEV, lambda other: not is_alive(options.home, other)) if settings.database_url is None else None
        deciders = await stack.enter_async_context(
            observed_coordinator(
                (bus, store, artifacts), name, settings, seen, only_pool=only_pool, share=share, resolve_secret=secret_of_user
            )
        )
        runner = await stack.enter_async_context(observed_runner(bus, artifacts, pools, name, place, seen, lifetime))
        api = api_server(
            Door(options.host, options.port), (store, bus, artifacts), settings, seen, share.owner if share is not None else None
        )

        async def work() -> None:
            await runner.run()
            deciders.drain()
            api.should_exit = True

        async def all_of_it() -> None:
            async with asyncio.TaskGroup() as tasks:
                for part in (deciders.run(), api.serve(), work()):
                    tasks.create_task(part)

        def drain() -> None:
            health.is_draining = True
            runner.drain()

        for line in _greeting(options, settings, pools):
            options.tell(line)
        await lifetime.serve(all_of_it(), drain, settings.drain_seconds)


def _greeting(options: DevOptions, settings: ServiceSettings, pools: Mapping[str, int]) -> list[str]:
    token = settings.needed("api_token")
    served = "every pool" if options.pools is None else ", ".join(pools)
    return [
        f"API     http://{options.host}:{options.port}",
        f"token   {token}",
        f"slots   {sum(pools.values())} for {served}",
        "",
        f"    export PENSTOCK_API_URL=http://{options.host}:{options.port} PENSTOCK_API_TOKEN={token}",
        "    penstock submit pipeline.py",
        "",
        "Ctrl-C ends it when the steps that run have ended; a second one ends it at once.",
    ]


@asynccontextmanager
async def _bus(settings: ServiceSettings, name: str, health: Health) -> AsyncGenerator[Bus]:
    if settings.broker_url is None:
        health.learn(BROKER, "")
        yield MemoryBus()
        return
    async with open_bus(settings, name, health) as bus:
        yield bus


@asynccontextmanager
async def _store(settings: ServiceSettings, home: Path, health: Health) -> AsyncGenerator[Store]:
    if settings.database_url is None:
        health.learn(DATABASE, "")
        store = SqliteStore(home / "penstock.sqlite")
        try:
            yield store
        finally:
            await store.close()
        return
    async with open_store(settings, health) as given:
        yield given


@asynccontextmanager
async def _artifacts(settings: ServiceSettings, home: Path, health: Health) -> AsyncGenerator[ArtifactStore]:
    if settings.artifacts_url is None:
        health.learn(ARTIFACTS, "")
        yield FolderArtifactStore(home / "artifacts")
        return
    async with open_artifacts(settings, health) as artifacts:
        yield artifacts


@asynccontextmanager
async def _checkpoints(settings: ServiceSettings) -> AsyncGenerator[CheckpointStore | None]:
    """None: those of one machine need no store."""
    if settings.artifacts_url is None:
        yield None
        return
    async with open_checkpoints(settings.artifacts_url) as checkpoints:
        yield checkpoints
