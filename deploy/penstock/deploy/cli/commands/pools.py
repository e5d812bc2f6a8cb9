"""`penstock pools`: define, see, drain and scale them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from penstock.contracts.errors import InvalidInput
from penstock.contracts.fleet_views import PoolView
from penstock.contracts.pools import PoolSpec
from penstock.deploy.cli.fleet import fleet, operator, pool_lines
from penstock.deploy.pool_documents import pools_text, read_pools

_HELP = """Pools: what one slot has, how many a runner has, and how much may run at a time.

Examples:

    penstock pools apply pools.yaml

    penstock pools ls

    penstock pools scale gpu --max 3

    penstock pools drain gpu            dispatch nothing more; penstock pools drain gpu --undo
"""
app = typer.Typer(help=_HELP, no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="POOL")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(name="ls", help="Pools and lanes, what waits for them and why.")
def list_pools(context: typer.Context, as_json: AsJson = False) -> None:
    with fleet(context) as client:
        pools = client.pools()
    if as_json:
        for pool in pools:
            typer.echo(json.dumps(pool.model_dump(mode="json")))
        return
    typer.echo("\n".join(pool_lines(pools)) if pools else "no pool is defined, and no runner is there: any pool's name will do")


@app.command(help="A pool: its definition, and how it stands.")
def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    with fleet(context) as client:
        pool = _named(client.pools(), name)
    if as_json:
        typer.echo(pool.model_dump_json())
        return
    if pool.definition is None:
        typer.echo(f"{pool.name} is not defined: each of its steps takes one slot, whatever it needs")
    else:
        typer.echo(pools_text([pool.definition]), nl=False)
        typer.echo(f"# a step may need {pool.definition.offer()}{'; it is draining' if pool.definition.is_draining else ''}")
    typer.echo("\n".join(pool_lines([pool])))


def _named(pools: Sequence[PoolView], name: str) -> PoolView:
    found = next((pool for pool in pools if pool.name == name), None)
    if found is None:
        there = ", ".join(pool.name for pool in pools) or "none"
        raise InvalidInput(f"there is no pool {name!r} (there is {there})")
    return found


@app.command(help="Define the pools of a file, or change their definitions. Pools that it does not name stay as they are.")
def apply(context: typer.Context, file: Annotated[Path, typer.Argument(metavar="FILE", help="pools.yaml")]) -> None:
    specs = read_pools(file)
    with operator(context) as client:
        for spec in specs:
            applied = client.apply_pool(spec)
            typer.echo(f"{spec.name}: {_summary(spec)}")
            if applied.advice:
                typer.echo(f"  {applied.advice}", err=True)


@app.command(help="Print the definitions as a file for `apply`.")
def export(context: typer.Context) -> None:
    with fleet(context) as client:
        defined = [pool.definition for pool in client.pools() if pool.definition is not None]
    typer.echo(pools_text(defined), nl=False)


@app.command(help="Dispatch nothing more to a pool; what is being executed goes on, what is ready waits.")
def drain(
    context: typer.Context,
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Dispatch to it again.")] = False,
) -> None:
    with operator(context) as client:
        client.drain_pool(name, is_draining=not undo)
    typer.echo(f"{name} {'takes orders again' if undo else 'is draining'}")


@app.command(help="Set how many runners an autoscaler keeps.")
def scale(
    context: typer.Context,
    name: Name,
    least: Annotated[int | None, typer.Option("--min", min=0, help="At least so many.")] = None,
    most: Annotated[int | None, typer.Option("--max", min=0, help="At most so many.")] = None,
) -> None:
    if least is None and most is None:
        raise InvalidInput("say how far: --min, --max, or both")
    with operator(context) as client:
        typer.echo(f"{name}: {_summary(client.scale_pool(name, least=least, most=most))}")


@app.command(name="rm", help="Forget a definition. Its runners and its queue stay.")
def remove(context: typer.Context, name: Name) -> None:
    with operator(context) as client:
        client.remove_pool(name)
    typer.echo(f"{name} is not defined any more")


def _summary(spec: PoolSpec) -> str:
    limits = "".join(f", {limit.describe()}" for limit in spec.limits)
    return f"{spec.slots_per_runner} slots a runner ({spec.offer()}), {spec.min_runners} to {spec.max_runners} runners{limits}"
