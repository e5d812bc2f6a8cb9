"""`penstock workspaces`: places whose pipelines, runs, artifacts, caches and pools are apart."""

from typing import Annotated

import typer

from penstock.deploy.cli.wiring import api

_HELP = """Workspaces: each has pipelines, runs, artifacts, caches, pools and members of its own.

Examples:

    penstock workspaces create forecasting

    PENSTOCK_WORKSPACE=forecasting penstock members add group:forecasters --role author

    penstock workspaces ls
"""
app = typer.Typer(help=_HELP, no_args_is_help=True)


@app.command(name="ls", help="Those that you may be in, and as what.")
def list_workspaces(context: typer.Context) -> None:
    from penstock.deploy.areas.access import Access  # noqa: PLC0415 -- for the API alone

    with api(context) as connection:
        access = Access(connection)
        here = access.me().workspace
        for workspace in access.workspaces():
            typer.echo(f"{'*' if workspace.name == here else ' '} {workspace.name:<30} {workspace.role.value}")


@app.command(help="Make one. It takes an admin of all workspaces.")
def create(context: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    from penstock.deploy.areas.access import Access  # noqa: PLC0415 -- for the API alone

    with api(context) as connection:
        Access(connection).create_workspace(name)
    typer.echo(f"{name} is there; give somebody a role: PENSTOCK_WORKSPACE={name} penstock members add SUBJECT --role admin")
    typer.echo(f"and queues to its pools: penstock topology apply --workspace {name} --pool POOL")
