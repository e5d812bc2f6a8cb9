"""`penstock cache`: what it holds, and forgetting it."""

from typing import Annotated

import typer

from penstock.deploy.cli.durations import seconds_text, size_text
from penstock.deploy.cli.progress import aligned
from penstock.deploy.cli.wiring import engine, housekeeping

app = typer.Typer(
    no_args_is_help=True,
    help="""The results that later runs reuse.

    Examples:

        penstock cache stats

        penstock cache clear --pipeline retrain --step train
    """,
)


@app.command(help="What the cache holds and what it saved.")
def stats(context: typer.Context) -> None:
    with engine(context) as client:
        found = housekeeping(client).cache_stats()
    typer.echo(f"{found.entries} entries, used {found.hits} times, {seconds_text(found.hit_seconds)} of computing saved")
    typer.echo(f"{found.artifacts} artifacts, {size_text(found.artifact_bytes)}")
    for line in aligned([("", step, str(count)) for step, count in found.entries_by_step.items()]):
        typer.echo(line)


@app.command(help="Forget results, so that they are computed again. Runs keep their outputs.")
def clear(
    context: typer.Context,
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="Of that pipeline only.")] = None,
    step: Annotated[str | None, typer.Option("--step", help="Of that step only.")] = None,
) -> None:
    with engine(context) as client:
        count = housekeeping(client).cache_clear(pipeline=pipeline, step=step)
    typer.echo(f"forgot {count} entries; penstock gc frees the space")
