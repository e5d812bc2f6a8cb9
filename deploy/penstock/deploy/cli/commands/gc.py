"""`penstock gc`: free the space of what nothing uses."""

from typing import Annotated

import typer

from penstock.contracts.errors import InvalidInput
from penstock.deploy.cli.durations import size_text
from penstock.deploy.cli.wiring import engine, housekeeping

app = typer.Typer()

_EXAMPLES = """Free the space of artifacts that neither a run nor a cache entry uses, and leftovers of processes that died.

Examples:

    penstock gc --dry-run

    penstock gc --older-than 30d      also forget cache entries unused for 30 days
"""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@app.command(help=_EXAMPLES)
def gc(
    context: typer.Context,
    older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="As 12h, 30d, 4w.")] = "0s",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")] = False,
) -> None:
    seconds = _seconds(older_than)
    with engine(context) as client:
        found = housekeeping(client).collect_garbage(older_than_seconds=seconds, dry_run=dry_run)
    verb = "would free" if dry_run else "freed"
    parts = f"{found.artifacts} artifacts, {found.cache_entries} cache entries, {found.folders} leftover folders"
    typer.echo(f"{verb} {size_text(found.freed_bytes)}: {parts}")


def _seconds(text: str) -> float:
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.replace(".", "", 1).isdigit():
        raise InvalidInput(f"--older-than {text}: write an age as 90s, 12h, 30d or 4w")
    return float(number) * _UNITS[unit]
