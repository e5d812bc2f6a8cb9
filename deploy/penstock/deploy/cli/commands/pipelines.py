"""`penstock pipelines`: published pipelines, their versions and aliases, and runs of them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from penstock.contracts.spec import decode_spec
from penstock.contracts.views import RunView
from penstock.deploy.areas.publishing import Publishing
from penstock.deploy.cli.detached import follow_detached, how_to_follow
from penstock.deploy.cli.parameters import given_in_file, given_on_command_line, values_for
from penstock.deploy.cli.published import AsJson, Reference, add_commands
from penstock.deploy.cli.run_execution import RunRequest, pairs
from penstock.deploy.cli.summary import header_lines
from penstock.deploy.cli.wiring import api_of, reached
from penstock.sdk.client import EngineClient
from penstock.sdk.runs.run_ids import new_run_id

_HELP = """Published pipelines: versions that never change, the default, and other names for them.

Examples:

    penstock publish pipeline.py                      publish one

    penstock pipelines ls

    penstock pipelines run sales -p day=2026-11-20    the default version

    penstock pipelines default sales 3                go back to version 3, triggers and all

    penstock pipelines alias sales prod 4             penstock pipelines run sales@prod

    penstock pipelines disable sales@2 --note "reads the old table"
"""
app = typer.Typer(help=_HELP, no_args_is_help=True)
add_commands(app, "pipeline")


@app.command(help="Run the default version, or another, and follow it. Its code is the published one, not that of this folder.")
def run(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    reference: Reference,
    parameter: Annotated[list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="A parameter, as for `penstock run`.")] = None,
    params: Annotated[Path | None, typer.Option("--params", metavar="FILE", help="Parameters from a YAML file; -p goes first.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The run's name; else <pipeline>-<number>.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="A tag of the run.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it to the services, or to `penstock dev`.")] = False,
    as_json: AsJson = False,
) -> None:
    given = (given_in_file(params) if params is not None else {}) | given_on_command_line(parameter or [], Path.cwd())
    tags = pairs(tag or [], "--tag")
    with reached(context) as client:
        area = Publishing(api_of(client))
        version = area.version(reference)
        spec = decode_spec(version.spec)
        values = {key: value for key, value in values_for(spec, given, client).items() if key in given}
        plain = {key: value.model_dump(mode="json", exclude_defaults=True) for key, value in values.items()}
        request = {"version": version.version, "parameters": plain, "name": name, "tags": tags, "run_id": new_run_id()}
        view = area.run(version.name, request)
        _say(header_lines(view, spec, view.parameters, client), as_json)
        _warn(view)
        if detach:
            _left(view, as_json)
            return
        _drive(client, view)
        code = follow_detached(client, view, RunRequest(tags=tags, save={}, as_json=as_json))
    raise typer.Exit(code)


def _drive(client: EngineClient, view: RunView) -> None:
    """On a laptop where no `penstock dev` serves, this process does what is to be done."""
    found = client.run(view.run_id)
    if not found.is_owned_by_live_process and not found.state.is_terminal:
        client.resume(view.run_id)


def _warn(view: RunView) -> None:
    if "warning" in view.tags:
        typer.echo(f"warning: {view.tags['warning']}", err=True)


def _left(view: RunView, as_json: bool) -> None:
    _say([f"asked for; follow it with: {how_to_follow(view)}"], as_json)
    if as_json:
        sys.stdout.write(view.model_dump_json(include={"run_id", "name", "state", "pipeline", "tags"}) + "\n")


def _say(lines: list[str], as_json: bool) -> None:
    for line in lines:
        typer.echo(line, err=as_json)
