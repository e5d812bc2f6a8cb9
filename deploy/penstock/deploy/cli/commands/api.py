"""`penstock api`: the service that people and programs talk to."""

from typing import Annotated

import typer

from penstock.deploy.cli.service_options import DrainSeconds, HealthAddress, LogFormat, Name, flags, services_extra
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
    broker_url: Annotated[str | None, typer.Option("--broker-url", help="amqp://USER:PASSWORD@HOST:PORT/VHOST")] = None,
    database_url: Annotated[str | None, typer.Option("--database-url", help="postgresql://USER:PASSWORD@HOST:PORT/NAME")] = None,
    artifacts_url: Annotated[str | None, typer.Option("--artifacts-url", help="s3://BUCKET/PREFIX or file:///FOLDER")] = None,
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
        from penstock.deploy.services.naming import process_name  # noqa: PLC0415 -- for services alone
    own_name = settings.name or process_name()
    run_service("api", own_name, settings, lambda settings, lifetime: serve_api(Door(host, port), own_name, settings, lifetime))
