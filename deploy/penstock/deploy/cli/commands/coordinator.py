"""`penstock coordinator`: the service that decides."""

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

_HELP = """Serve as one of any number of coordinators, until SIGTERM.

What it needs is set in the environment, by flags or in a profile: PENSTOCK_BROKER_URL, PENSTOCK_DATABASE_URL, PENSTOCK_ARTIFACTS_URL,
PENSTOCK_SIGNING_KEY (the same for all coordinators).

Example:

    penstock coordinator --health-address 0.0.0.0:9090
"""


@app.command(help=_HELP)
def coordinator(
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
        from penstock.deploy.services.coordinator import serve_coordinator  # noqa: PLC0415 -- for services alone
        from penstock.deploy.services.lifetime import run_service  # noqa: PLC0415 -- for services alone
    run_service("coordinator", settings, serve_coordinator)
