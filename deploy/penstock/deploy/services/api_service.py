"""`penstock api`: the API as a service, on the bus, the store and the artifact store of the others."""

import os
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import structlog
import uvicorn
from typing_extensions import override

from penstock.contracts.errors import InvalidInput
from penstock.deploy.declared_datastores import open_datastores
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.api import check_address, server
from penstock.deploy.services.dependencies import ARTIFACTS, BROKER, DATABASE, open_artifacts, open_bus, open_store
from penstock.deploy.services.health import Health
from penstock.deploy.services.lifetime import Lifetime
from penstock.deploy.services.observation import Observation, observe
from penstock.deploy.services.observed import ObservedArtifacts, ObservedBus, ObservedStore
from penstock.deploy.services.oidc_people import Issuer, OidcPeople
from penstock.deploy.services.topology import declare_pool
from penstock.deploy.user_secrets import secret_of_user
from penstock.engine.api.app import create_app
from penstock.engine.api.authentication import People
from penstock.engine.api.services import queues_need_no_declaring
from penstock.engine.api.settings import ApiSettings
from penstock.engine.store import Store
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.bus import Bus

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.api")


def api_settings(settings: ServiceSettings, owner: str | None = None) -> ApiSettings:
    """:raises InvalidInput: the token is short enough to be guessed."""
    token = settings.api_token.get_secret_value() if settings.api_token is not None else None
    key = settings.signing_key.get_secret_value().encode() if settings.signing_key is not None else None
    return ApiSettings(token=token, workspace=settings.workspace, owner=owner, signing_key=key, webhooks_allowed=settings.webhooks_allowed)


@asynccontextmanager
async def open_people(settings: ServiceSettings) -> AsyncGenerator[People | None]:
    """The identity provider of the settings; None: they name none.

    :raises InvalidInput: nothing says for whom its tokens have to be made.
    """
    if settings.oidc_issuer is None:
        yield None
        return
    issuer = Issuer(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience or settings.needed("oidc_client_id"),
        subject_claim=settings.oidc_subject_claim,
        groups_claim=settings.oidc_groups_claim,
    )
    async with httpx.AsyncClient(timeout=5.0, follow_redirects=False) as http:
        yield OidcPeople(issuer, http)


@dataclass(frozen=True, slots=True)
class Door:
    """Where the API listens."""

    host: str
    port: int

    def check(self) -> None:
        """:raises InvalidInput: nobody can listen there."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self.host, self.port))
        except OSError as error:
            raise InvalidInput(f"the API can't listen at {self.host}:{self.port}: {error.strerror}; name another --port") from error


async def serve_api(door: Door, name: str, settings: ServiceSettings, lifetime: Lifetime) -> None:
    """Serves until it is asked to stop; requests that are being answered have a few seconds."""
    for needed in ("broker_url", "database_url", "artifacts_url"):
        settings.needed(needed)
    check_address(door.host, api_settings(settings).token, has_login=settings.oidc_issuer is not None)
    health = Health((BROKER, DATABASE, ARTIFACTS))
    async with AsyncExitStack() as stack:
        seen = await stack.enter_async_context(observe("api", name, settings, health))
        bus = await stack.enter_async_context(open_bus(settings, name, health))
        store = await stack.enter_async_context(open_store(settings, health))
        artifacts = await stack.enter_async_context(open_artifacts(settings, health))
        people = await stack.enter_async_context(open_people(settings))
        http = api_server(door, (store, bus, artifacts), settings, seen, people=people)

        def drain() -> None:
            health.is_draining = True
            http.should_exit = True

        await lifetime.serve(http.serve(), drain, settings.drain_seconds)


class ApiServer(uvicorn.Server):
    """Signals are the service's: it asks the server to end."""

    @contextmanager
    @override
    def capture_signals(self) -> Generator[None]:
        yield


def api_server(
    door: Door,
    ports: tuple[Store, Bus, ArtifactStore],
    settings: ServiceSettings,
    seen: Observation,
    owner: str | None = None,
    people: People | None = None,
) -> uvicorn.Server:
    """A server of the API that is about to listen. `owner` drives the runs that are asked for there; `people` knows who is logged in.

    :raises InvalidInput: nobody can listen there, or others would reach it without a token.
    """
    store, bus, artifacts = ports
    metrics = seen.metrics
    app = create_app(
        ObservedStore(store, metrics),
        ObservedBus(bus, metrics),
        ObservedArtifacts(artifacts, metrics),
        api_settings(settings, owner),
        partial(declare_pool, settings) if settings.broker_url is not None else queues_need_no_declaring,
        people,
        open_datastores(artifacts, os.environ, Path.cwd(), secret_of_user),
    )
    http = ApiServer(server(app, door.host, door.port).config)
    door.check()
    log.info("api.listening", host=door.host, port=door.port, has_token=settings.api_token is not None, issuer=settings.oidc_issuer)
    return http
