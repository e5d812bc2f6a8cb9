"""`penstock api`: the service that people and programs talk to."""

from functools import partial
from typing import Annotated

import typer

from penstock.deploy.cli.service_options import (
    ArtifactsUrl,
    BrokerUrl,
    DatabaseUrl,
    DrainSeconds,
    HealthAddress,
    LogFormat,
    Name,
    flags,
    services_extra,
)
from penstock.deploy.service_settings import ServiceSettings

app = typer.Typer()

_HELP = """Serve the API, until SIGTERM.

What it needs is set in the environment, by flags or in a profile: PENSTOCK_BROKER_URL, PENSTOCK_DATABASE_URL, PENSTOCK_ARTIFACTS_URL, and
PENSTOCK_API_TOKEN (or PENSTOCK_API_TOKEN_FILE). Without a token it listens on loopback addresses only.

Example:

    penstock api --host 0.0.0.0 --port 8080
"""


@app.command(help=_HELP)
def api(  # noqa: PLR0913 - one parameter an option
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port to listen at.")] = 8080,
    broker_url: BrokerUrl = None,
    database_url: DatabaseUrl = None,
    artifacts_url: ArtifactsUrl = None,
    name: Name = None,
    health_address: HealthAddress = None,
    drain_seconds: DrainSeconds = None,
    log_format: LogFormat = None,
) -> None:
    given = {"broker_url": broker_url, "database_url": database_url, "artifacts_url": artifacts_url}
    settings = ServiceSettings.read(given | flags(name, health_address, drain_seconds, log_format))
    with services_extra():
        from penstock.deploy.services.api_service import Door, serve_api  # noqa: PLC0415 -- for services alone
        from penstock.deploy.services.lifetime import run_service  # noqa: PLC0415 -- for services alone
    run_service("api", settings, partial(serve_api, Door(host, port)))
