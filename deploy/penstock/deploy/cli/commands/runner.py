"""`penstock runner`: the service that works for pools. A command group, so that steps can be served by `runner serve`."""

from functools import partial
from typing import Annotated

import typer

from penstock.deploy.cli.commands.runner_serve import serve
from penstock.deploy.cli.service_options import ArtifactsUrl, BrokerUrl, DrainSeconds, HealthAddress, LogFormat, Name, flags, services_extra
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.slots import gpus_by_pool, slots_by_pool

_HELP = """Execute steps for pools, until SIGTERM: then finish what was begun, and end.

What it needs is set in the environment, by flags or in a profile: PENSTOCK_BROKER_URL, PENSTOCK_ARTIFACTS_URL. It needs no database.

Examples:

    penstock runner --pool cpu --slots 4

    penstock runner --pool cpu --slots 4 --pool gpu --slots 1

    penstock runner --pool cpu=4 --pool gpu=1

    penstock runner --pool small-gpu=4 --slot-gpus small-gpu=0.25      four attempts share a GPU
"""
app = typer.Typer(help=_HELP)
app.command("serve")(serve)


@app.callback(invoke_without_command=True, help=_HELP)
def runner(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    pool: Annotated[list[str] | None, typer.Option("--pool", help="A pool to serve, or NAME=SLOTS. May be repeated.")] = None,
    slots: Annotated[list[int] | None, typer.Option("--slots", help="Attempts at a time, for each --pool or for all.")] = None,
    slot_gpus: Annotated[
        list[str] | None, typer.Option("--slot-gpus", help="POOL=GPUS that each of its slots has; below 1, slots share one.")
    ] = None,
    broker_url: BrokerUrl = None,
    artifacts_url: ArtifactsUrl = None,
    workspace: Annotated[str | None, typer.Option("--workspace", help="Whose orders it takes.")] = None,
    name: Name = None,
    health_address: HealthAddress = None,
    drain_seconds: DrainSeconds = None,
    log_format: LogFormat = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    pools = slots_by_pool(pool or [], slots or [])
    shares = gpus_by_pool(slot_gpus or [], pools)
    given = {"broker_url": broker_url, "artifacts_url": artifacts_url, "workspace": workspace}
    settings = ServiceSettings.read(given | flags(name, health_address, drain_seconds, log_format))
    with services_extra():
        from penstock.deploy.services.lifetime import run_service  # noqa: PLC0415 -- for services alone
        from penstock.deploy.services.runner import serve_runner  # noqa: PLC0415 -- for services alone
    run_service("runner", settings, partial(serve_runner, pools, shares))
