"""The API: what people, the SDK and the command line ask of services, over HTTP under `/v1`."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from fastapi import Depends, FastAPI

from penstock.contracts.access import LOCAL
from penstock.engine.api import (
    access,
    approvals,
    cache,
    components,
    document,
    events,
    live,
    pipelines,
    pools,
    problems,
    registry,
    runs,
    status,
    step_runs,
    subscriptions,
    triggers,
)
from penstock.engine.api import artifacts as artifacts_router
from penstock.engine.api.authentication import Authenticator, People
from penstock.engine.api.gate import Gate
from penstock.engine.api.live_logs import LiveLogs
from penstock.engine.api.permissions import permitted
from penstock.engine.api.repeats import AnsweredBefore, Repeats, answer_again
from penstock.engine.api.services import DeclareQueue, Services, queues_need_no_declaring
from penstock.engine.api.settings import ApiSettings, software_version
from penstock.engine.fleet import Fleet
from penstock.engine.store import Store
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.bus import Bus
from penstock.transport.datastore import Datastores

PREFIX = "/v1"
_ROUTERS = (
    *(runs, step_runs, live, artifacts_router, registry, approvals, cache),
    *(pipelines, components, events, triggers, subscriptions),
    *(pools, status, access),
)


def create_app(
    store: Store,
    bus: Bus,
    artifacts: ArtifactStore,
    settings: ApiSettings,
    declare: DeclareQueue = queues_need_no_declaring,
    people: People | None = None,
    datastores: Datastores | None = None,
) -> FastAPI:
    """The app on these ports. It listens to heartbeats while it serves, and closes none of the ports. `declare` makes a pool's queue;
    `people` knows who is logged in; URIs among parameters are read from `datastores`."""
    services = Services(
        store=store,
        bus=bus,
        artifacts=artifacts,
        settings=settings,
        declare=declare,
        fleet=Fleet(bus),
        live_logs=LiveLogs(bus),
        principal=replace(LOCAL, workspace=settings.workspace),
        datastores=datastores,
    )
    authenticator = Authenticator(store, settings, people)

    @asynccontextmanager
    async def serving(_app: FastAPI) -> AsyncGenerator[None]:
        listening = asyncio.create_task(services.fleet.run())
        try:
            yield
        finally:
            listening.cancel()
            services.live_logs.close()
            await asyncio.gather(listening, return_exceptions=True)

    app = FastAPI(
        title="Penstock",
        version=software_version(),
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # It would load scripts from elsewhere.
        redoc_url=None,
        lifespan=serving,
        redirect_slashes=False,
        responses=problems.DOCUMENTED,
        dependencies=[Depends(permitted)],
    )
    app.state.services = services
    app.state.authenticator = authenticator
    problems.install(app)
    document.install(app)
    for module in _ROUTERS:
        app.include_router(module.router, prefix=PREFIX)
    app.add_exception_handler(AnsweredBefore, answer_again)
    app.add_middleware(Repeats, store=store)
    app.add_middleware(Gate, settings=settings, authenticator=authenticator)
    return app
