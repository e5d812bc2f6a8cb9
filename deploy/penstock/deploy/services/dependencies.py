"""What services stand on: bus, store and artifact store, reached with patience. The one place of the services that names adapters."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import aio_pika
import aiormq.exceptions
import asyncpg
import structlog
from botocore.exceptions import ClientError, NoCredentialsError, PartialCredentialsError

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import BusUnavailable, InfrastructureError, StoreUnavailable
from penstock.contracts.messages import Tick, encode
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.health import Check, Health
from penstock.engine.store import Store
from penstock.engine.stores.postgres import PostgresStore
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.artifact_stores.by_url import open_artifact_store
from penstock.transport.bus import Bus, Envelope, Exchange
from penstock.transport.buses.rabbitmq import RabbitBus

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.service")

T = TypeVar("T")

BROKER, DATABASE, ARTIFACTS = "broker", "database", "artifacts"
TRY_SECONDS = 10.0
_REFUSALS = frozenset({400, 401, 403, 404})
PAUSE_SECONDS = 2.0


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def place_of(url: str) -> str:
    """Host, port and path of a URL: what may be shown of it."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.hostname or ''}{port}{parts.path}"


async def reached(what: str, place: str, attempt: Callable[[], Awaitable[T]], health: Health) -> T:
    """What `attempt` gives, tried until it does. Only what may pass by itself is waited for."""
    began = time.monotonic()
    while True:
        try:
            async with asyncio.timeout(TRY_SECONDS):
                found = await attempt()
        except (OSError, TimeoutError, BusUnavailable, StoreUnavailable) as error:
            reason = str(error) or f"no answer within {TRY_SECONDS:g} s"
            health.learn(what, reason)
            log.warning("dependency.awaited", dependency=what, place=place, reason=reason, seconds=round(time.monotonic() - began, 1))
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            log.info("dependency.reached", dependency=what, place=place, seconds=round(time.monotonic() - began, 1))
            return found


# The broker


@asynccontextmanager
async def open_bus(settings: ServiceSettings, name: str, health: Health) -> AsyncGenerator[Bus]:
    """The bus that the settings name, once it can be reached.

    :raises InfrastructureError: the broker refuses the credentials.
    """
    url: str = settings.needed("broker_url")
    await reached(BROKER, place_of(url), lambda: _try_broker(url), health)
    async with RabbitBus(url, name=name) as bus:
        health.watch(BROKER, bus_check(bus, name))
        yield bus


async def _try_broker(url: str) -> None:
    try:
        connection = await aio_pika.connect(url, timeout=TRY_SECONDS)
    except (aiormq.exceptions.AuthenticationError, aiormq.exceptions.ProbableAuthenticationError) as error:
        raise InfrastructureError(_refused("broker", url, "PENSTOCK_BROKER_URL", "the user or the password is wrong")) from error
    except aiormq.exceptions.ConnectionNotAllowed as error:
        vhost = unquote(urlsplit(url).path[1:]) or "/"
        reason = f"the virtual host {vhost!r} is not there, or this user may not use it"
        raise InfrastructureError(_refused("broker", url, "PENSTOCK_BROKER_URL", reason)) from error
    except aiormq.exceptions.AMQPError as error:
        raise BusUnavailable(f"{type(error).__name__}: {error}") from error
    await connection.close()


def _refused(what: str, url: str, variable: str, reason: str) -> str:
    return f"the {what} at {place_of(url)} refuses us: {reason} (see {variable})"


def bus_check(bus: Bus, name: str) -> Check:
    """A tick that no coordinator takes for its own."""
    probe = f"probe of {name}"

    async def check() -> None:
        await bus.publish(Envelope(exchange=Exchange.VITALS, key="tick", body=encode(Tick(coordinator=probe, sent_at=time.monotonic()))))

    return check


# The database


@asynccontextmanager
async def open_store(settings: ServiceSettings, health: Health) -> AsyncGenerator[Store]:
    """The store that the settings name, once it can be reached.

    :raises InfrastructureError: the database refuses the credentials, or is not there.
    """
    url: str = settings.needed("database_url")
    await reached(DATABASE, place_of(url), lambda: _try_database(url), health)
    store = PostgresStore(url)
    await reached(DATABASE, place_of(url), store.open, health)
    try:
        health.watch(DATABASE, store_check(store))
        yield store
    finally:
        await store.close()


async def _try_database(url: str) -> None:
    try:
        connection = await asyncpg.connect(url, timeout=TRY_SECONDS)
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise InfrastructureError(_refused("database", url, "PENSTOCK_DATABASE_URL", "the user or the password is wrong")) from error
    except asyncpg.InvalidCatalogNameError as error:
        reason = "there is no such database; create it with `createdb`"
        raise InfrastructureError(_refused("database", url, "PENSTOCK_DATABASE_URL", reason)) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise InfrastructureError(_refused("database", url, "PENSTOCK_DATABASE_URL", str(error))) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
    await connection.close()


def store_check(store: Store) -> Check:
    async def check() -> None:
        await store.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())

    return check


# Artifacts


@asynccontextmanager
async def open_artifacts(settings: ServiceSettings, health: Health) -> AsyncGenerator[ArtifactStore]:
    """The artifact store that the settings name, once it can be reached.

    :raises InfrastructureError: it refuses the credentials.
    :raises InvalidInput: the folder can't be used.
    """
    url: str = settings.needed("artifacts_url")
    cache = settings.cache_folder / "artifacts"
    await reached(ARTIFACTS, place_of(url), lambda: _try_artifacts(url, cache), health)
    async with open_artifact_store(url, cache) as store:
        health.watch(ARTIFACTS, artifacts_check(store))
        yield store


async def _try_artifacts(url: str, cache: Path) -> None:
    try:
        async with open_artifact_store(url, cache) as store:
            await artifacts_check(store)()
    except StoreUnavailable as error:
        if _is_refusal(error.__cause__):
            raise InfrastructureError(str(error)) from error
        raise


def _is_refusal(cause: BaseException | None) -> bool:
    """Whether S3 answered, and won't have us: waiting does not help."""
    match cause:
        case ClientError():
            return cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _REFUSALS
        case NoCredentialsError() | PartialCredentialsError():
            return True
        case _:
            return False


def artifacts_check(store: ArtifactStore) -> Check:
    nothing = digest_bytes(b"")

    async def check() -> None:
        await store.lost([nothing])

    return check
