"""`penstock runner serve`: makes steps services of their own."""

from functools import partial
from typing import Annotated

import typer

from penstock.contracts.names import lane_of
from penstock.deploy.cli.service_options import ArtifactsUrl, BrokerUrl, DrainSeconds, HealthAddress, LogFormat, Name, flags, services_extra
from penstock.deploy.service_settings import ServiceSettings


def serve(  # noqa: PLR0913 - one parameter an option
    target: Annotated[str, typer.Argument(metavar="MODULE[:STEP]", help="package.module or file.py; all its steps, or one.")],
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="Only this pipeline's steps.")] = None,
    slots: Annotated[int, typer.Option("--slots", min=1, help="Attempts of each step at a time.")] = 1,
    any_version: Annotated[bool, typer.Option("--any-version", help="Also for runs whose code of the step is another.")] = False,
    only_list: Annotated[bool, typer.Option("--list", help="Print what would be served, and end.")] = False,
    broker_url: BrokerUrl = None,
    artifacts_url: ArtifactsUrl = None,
    workspace: Annotated[str | None, typer.Option("--workspace", help="Whose runs it serves.")] = None,
    name: Name = None,
    health_address: HealthAddress = None,
    drain_seconds: DrainSeconds = None,
    log_format: LogFormat = None,
) -> None:
    """Serve steps: while this runs, they are executed here instead of in their pools.

    Runs whose code of a step differs from what the module holds now go to the pool as before, unless --any-version is given.

    Examples:

        penstock runner serve retrain.py

        penstock runner serve shop.pipelines.retrain:train --slots 2
    """
    given = {"broker_url": broker_url, "artifacts_url": artifacts_url, "workspace": workspace}
    settings = ServiceSettings.read(given | flags(name, health_address, drain_seconds, log_format))
    with services_extra():
        from penstock.deploy.services.lifetime import run_service  # noqa: PLC0415 -- for services alone
        from penstock.deploy.services.runner import serve_runner  # noqa: PLC0415 -- for services alone
        from penstock.deploy.services.served_steps import served_steps  # noqa: PLC0415 -- for services alone
    services = served_steps(target, pipeline, settings.workspace, any_version=any_version)
    if only_list:
        for service in services:
            typer.echo(f"{lane_of(service.pipeline, service.step)}  {service.code or 'any version'}")
        return
    lanes = {lane_of(service.pipeline, service.step): slots for service in services}
    run_service("runner", settings, partial(serve_runner, lanes, {}, services=services))
