"""What `penstock doctor` looks at beside the machine: the surroundings that settings and datastores name, as far as they name any."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from penstock.contracts.errors import InvalidInput, PenstockError
from penstock.deploy.cli.diagnosis import Finding
from penstock.deploy.cli.service_options import services_extra
from penstock.deploy.declared_datastores import declared_datastores
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.user_secrets import secret_of_user
from penstock.transport.datastores.declared import open_place
from penstock.transport.datastores.place import Declaration

_NOTHING = "penstock-doctor-looks"
"""Begins no name that there is, so nothing is listed or read."""


def service_findings() -> Iterator[Finding]:
    """Broker, database and identity provider of the settings; declared datastores. Changes nothing."""
    try:
        settings = ServiceSettings.read()
    except InvalidInput as error:
        yield Finding(grade="problem", subject="settings", text=str(error))
        return
    if settings.broker_url is not None:
        yield from _broker(settings)
    if settings.database_url is not None:
        yield _database(settings)
    if settings.oidc_issuer is not None:
        yield _logins(settings, settings.oidc_issuer)
    yield from _datastores()


def _broker(settings: ServiceSettings) -> Iterator[Finding]:
    try:
        with services_extra():
            from penstock.deploy.services.topology import check_topology  # noqa: PLC0415 -- for services alone
            from penstock.transport.buses.rabbitmq.topology import topology  # noqa: PLC0415 -- for services alone

        # Queues of pools are not asked for: which there are, `penstock topology check` is told.
        found = asyncio.run(check_topology(settings, topology()))
    except PenstockError as error:
        yield Finding(grade="problem", subject="broker", text=str(error))
        return
    for one in found:
        yield Finding(grade="problem" if one.is_fault else "warning", subject="broker", text=f"{one.subject}: {one.what}; {one.remedy}")
    if not found:
        yield Finding(grade="ok", subject="broker", text="reports and events find their exchanges and queues")


def _database(settings: ServiceSettings) -> Finding:
    try:
        with services_extra():
            from penstock.engine.stores.postgres import PostgresStore  # noqa: PLC0415 -- for services alone

        async def opened() -> str:
            store = PostgresStore(settings.needed("database_url"))
            try:
                await store.open()
                return store.place
            finally:
                await store.close()

        return Finding(grade="ok", subject="database", text=f"{asyncio.run(opened())} is up to date")
    except PenstockError as error:
        return Finding(grade="problem", subject="database", text=str(error))


def _logins(settings: ServiceSettings, issuer: str) -> Finding:
    try:
        with services_extra():
            from penstock.deploy.remote.identity_provider import Client, IdentityProvider  # noqa: PLC0415 -- it imports an HTTP client

        client = Client(issuer=issuer, client_id=settings.oidc_client_id or "", audience="", scopes="")
        with closing(IdentityProvider(client)) as provider:
            provider.endpoint("token")
        if settings.oidc_audience is None:
            settings.needed("oidc_client_id")
    except PenstockError as error:
        return Finding(grade="problem", subject="logins", text=str(error))
    return Finding(grade="ok", subject="logins", text=f"{issuer} answers as this issuer")


def _datastores() -> Iterator[Finding]:
    try:
        declared = declared_datastores(os.environ, Path.cwd(), secret_of_user)
    except InvalidInput as error:
        yield Finding(grade="problem", subject="datastores", text=str(error))
        return
    for one in declared:
        yield _datastore(one)


def _datastore(declaration: Declaration) -> Finding:
    subject = f"datastore {declaration.name}"
    is_web = declaration.url.startswith("http")
    try:
        place = open_place(declaration)
        if is_web:
            # What a folder is answered with says nothing of files; that it is answered does.
            with suppress(InvalidInput):
                place.look(f"{declaration.url.rstrip('/')}/")
        else:
            next(iter(place.objects(declaration.url.rstrip("/"), _NOTHING, 1)), None)
    except PenstockError as error:
        # A server that refuses a folder may give the files in it.
        return Finding(grade="warning" if is_web else "problem", subject=subject, text=str(error))
    return Finding(grade="ok", subject=subject, text=f"{declaration.url} can be read")
