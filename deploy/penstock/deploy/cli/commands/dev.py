"""`penstock dev`: all services in one process, for a laptop."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from penstock.contracts.errors import InvalidInput
from penstock.deploy.cli.service_options import DrainSeconds, HealthAddress, LogFormat, Name, flags, services_extra
from penstock.deploy.cli.targets import parse_target
from penstock.deploy.cli.wiring import home_of
from penstock.deploy.service_settings import ServiceSettings

app = typer.Typer()

_HELP = """Serve coordinator, runner and API in one process, until Ctrl-C.

It needs nothing: runs, artifacts and cache are those of the project, in `.penstock/`. What PENSTOCK_BROKER_URL, PENSTOCK_DATABASE_URL
and PENSTOCK_ARTIFACTS_URL name is used instead. It prints where the API is, and its token.

Examples:

    penstock dev

    penstock dev pipeline.py                                   with that file's triggers on

    penstock dev --port 9000 --pool cpu=2 --pool gpu=1
"""


@app.command(help=_HELP)
def dev(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE[:PIPELINE]...]", help="Pipelines to publish here first, with their triggers on.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address that the API listens at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port that the API listens at.")] = 8080,
    pool: Annotated[
        list[str] | None, typer.Option("--pool", help="NAME=SLOTS; may be repeated. By default all cores, for any pool.")
    ] = None,
    name: Name = None,
    health_address: HealthAddress = None,
    drain_seconds: DrainSeconds = None,
    log_format: LogFormat = None,
) -> None:
    given = ServiceSettings.read(flags(name, health_address, drain_seconds, log_format))
    with services_extra():
        from penstock.deploy.services.dev import DevOptions, completed_settings, serve_dev  # noqa: PLC0415 -- for services alone
        from penstock.deploy.services.lifetime import run_service  # noqa: PLC0415 -- for services alone
        from penstock.deploy.services.slots import slots_by_pool  # noqa: PLC0415 -- for services alone
    home = home_of()
    options = DevOptions(host=host, port=port, pools=slots_by_pool(pool, []) if pool else None, home=home, tell=typer.echo)
    settings = completed_settings(given, home)
    if files:
        _publish(context, files, settings, home)
    run_service("dev", settings, partial(serve_dev, options))


def _publish(context: typer.Context, files: list[str], settings: ServiceSettings, home: Path) -> None:
    from penstock.deploy.cli.loaded_pipeline import load  # noqa: PLC0415 -- only where files are named
    from penstock.deploy.cli.publication import published_here  # noqa: PLC0415 -- as above

    if settings.database_url is not None:
        raise InvalidInput("with a database of its own (PENSTOCK_DATABASE_URL) it publishes no files: use `penstock publish` beside it")
    published_here(home, [load(context, parse_target(file, None)) for file in files])
