"""`penstock status`: runs, pools and runners at a glance, and what waits for what."""

from typing import Annotated

import typer

from penstock.deploy.cli.fleet import advice_lines, fleet, pool_lines, runner_lines

_HELP = """See what runs and what waits, and what it waits for.

Example:

    penstock status --json
"""
app = typer.Typer()


@app.command(help=_HELP)
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    with fleet(context) as client:
        found = client.status()
    if as_json:
        typer.echo(found.model_dump_json())
        return
    runs = ", ".join(f"{count} {state}" for state, count in found.runs.items()) or "none"
    typer.echo(f"runs: {runs}")
    typer.echo("\n".join(["", *pool_lines(found.pools)]) if found.pools else "no pool is defined, and no runner is there")
    if found.runners:
        typer.echo("\n".join(["", *runner_lines(found.runners, found.pools)]))
    if advice := advice_lines(found.pools, found.runners):
        typer.echo("\n".join(["", *advice]))
