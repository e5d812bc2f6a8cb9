"""What the commands of all services share: options, and the extra that they need."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from penstock.contracts.errors import InvalidInput

BrokerUrl = Annotated[str | None, typer.Option("--broker-url", help="amqp://USER:PASSWORD@HOST:PORT/VHOST")]
DatabaseUrl = Annotated[str | None, typer.Option("--database-url", help="postgresql://USER:PASSWORD@HOST:PORT/NAME")]
ArtifactsUrl = Annotated[str | None, typer.Option("--artifacts-url", help="s3://BUCKET/PREFIX or file:///FOLDER")]
Name = Annotated[str | None, typer.Option("--name", help="What the process is called in logs and lists; by default its host and process.")]
HealthAddress = Annotated[str | None, typer.Option("--health-address", help="HOST:PORT of /livez, /readyz and /metrics.")]
DrainSeconds = Annotated[float | None, typer.Option("--drain-seconds", help="What was begun may take so long after SIGTERM.")]
LogFormat = Annotated[str | None, typer.Option("--log-format", help="json, pretty, or auto: by the terminal.")]


def flags(name: str | None, health_address: str | None, drain_seconds: float | None, log_format: str | None) -> dict[str, Any]:
    """The settings that these options gave."""
    return {
        "name": name,
        "health_address": health_address,
        "drain_seconds": drain_seconds,
        "log_format": log_format,
    }


@contextmanager
def services_extra() -> Generator[None]:
    """Imports of services go in here: a laptop that runs none need not have what they import.

    :raises InvalidInput: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"services need more than is installed here ({error.name} is missing): pip install 'penstock[services]'"
        ) from error
