"""`penstock runners`: who is there to execute steps."""

import json
from typing import Annotated

import typer

from penstock.deploy.cli.fleet import fleet, runner_lines

app = typer.Typer(
    no_args_is_help=True,
    help="""The runners that live, as their heartbeats say.

    Example:

        penstock runners ls
    """,
)


@app.callback()
def _root() -> None:
    """Holds the group together."""


@app.command(name="ls", help="Runners with their slots; one that differs from its pool's definition says so.")
def list_runners(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False
) -> None:
    with fleet(context) as client:
        runners, pools = client.runners(), client.pools()
    if as_json:
        for runner in runners:
            typer.echo(json.dumps(runner.model_dump(mode="json")))
        return
    typer.echo("\n".join(runner_lines(runners, pools)) if runners else "no runner is there; start one with: penstock runner --pool cpu")
