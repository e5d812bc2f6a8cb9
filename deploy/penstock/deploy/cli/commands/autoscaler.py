"""`penstock autoscaler`: the service that starts and drains runners by demand."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from penstock.deploy.cli.service_options import DrainSeconds, HealthAddress, LogFormat, Name, flags, services_extra
from penstock.deploy.service_settings import ServiceSettings

app = typer.Typer()

_HELP = """Start and drain runners of pools by demand, within each pool's bounds, until SIGTERM. Its runners outlive it.

What it needs is set in the environment, by flags or in a profile: PENSTOCK_API_URL, PENSTOCK_API_TOKEN. What its runners need it hands on:
PENSTOCK_BROKER_URL, PENSTOCK_ARTIFACTS_URL and credentials for them.

Example:

    penstock pools apply pools.yaml && penstock autoscaler

    penstock autoscaler --config pools.yaml                   pools of its own, and what every runner gets

    penstock autoscaler --host local                          processes of this machine in place of containers
"""


class Host(StrEnum):
    DOCKER = "docker"
    LOCAL = "local"


@app.command(help=_HELP)
def autoscaler(  # noqa: PLR0913 - one parameter an option
    config: Annotated[
        Path | None,
        typer.Option("--config", envvar="PENSTOCK_AUTOSCALER_CONFIG", help="A YAML file: `pools:`, and `runners:` for what each gets."),
    ] = None,
    host: Annotated[Host, typer.Option("--host", envvar="PENSTOCK_AUTOSCALER_HOST", help="Where runners are started.")] = Host.DOCKER,
    network: Annotated[
        str | None, typer.Option("--network", envvar="PENSTOCK_AUTOSCALER_NETWORK", help="The containers' network: bridge, host, ...")
    ] = None,
    owner: Annotated[
        str, typer.Option("--owner", envvar="PENSTOCK_AUTOSCALER_OWNER", help="Marks its runners; each autoscaler of a host needs its own.")
    ] = "default",
    drain_at_end: Annotated[bool, typer.Option("--drain-at-end", help="Drain all its runners when it is stopped, and wait.")] = False,
    look_seconds: Annotated[float, typer.Option("--look-seconds", min=0.1, help="Between two looks at demand.")] = 5.0,
    api_url: Annotated[str | None, typer.Option("--api-url", help="https://HOST of the API that knows demand.")] = None,
    name: Name = None,
    health_address: HealthAddress = None,
    drain_seconds: DrainSeconds = None,
    log_format: LogFormat = None,
) -> None:
    settings = ServiceSettings.read({"api_url": api_url} | flags(name, health_address, drain_seconds, log_format))
    with services_extra():
        from penstock.deploy.autoscaler.autoscaler import Pace  # noqa: PLC0415 -- for services alone
        from penstock.deploy.autoscaler.service import AutoscalerOptions, serve_autoscaler  # noqa: PLC0415 -- for services alone
        from penstock.deploy.services.lifetime import run_service  # noqa: PLC0415 -- for services alone
    options = AutoscalerOptions(
        config=config, host=host.value, network=network, owner=owner, drains_at_end=drain_at_end, pace=Pace(look=look_seconds)
    )
    run_service("autoscaler", settings, partial(serve_autoscaler, options))
