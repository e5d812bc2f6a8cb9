"""`penstock tokens`: what programs show to the services."""

import json
import time
from typing import Annotated

import typer

from penstock.contracts.access import Role
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.wiring import api

_HELP = """Tokens for programs: CI, notebooks, upstream systems.

A token may do what its role may in one workspace, less if it has scopes. It is printed once, and kept nowhere.

Examples:

    penstock tokens create ci --role operator --days 90

    penstock tokens create lake --role operator --scope events

    penstock tokens ls

    penstock tokens revoke ci
"""
app = typer.Typer(help=_HELP, no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(name="ls", help="The tokens of the workspace: of all for an admin, else yours.")
def list_tokens(
    context: typer.Context, every: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False, as_json: AsJson = False
) -> None:
    from penstock.deploy.areas.access import Access  # noqa: PLC0415 -- for the API alone

    with api(context) as connection:
        tokens = Access(connection).tokens(limit=1000)
    now = time.time() * 1e6
    for token in tokens:
        is_valid = token.revoked_at is None and (token.expires_at is None or token.expires_at > now)
        if not (is_valid or every):
            continue
        if as_json:
            typer.echo(token.model_dump_json())
            continue
        ends = "revoked" if token.revoked_at else f"until {_day(token.expires_at)}" if token.expires_at else "without an end"
        used = f"used {_day(token.used_at)}" if token.used_at else "never used"
        scopes = f" ({', '.join(token.scopes)})" if token.scopes else ""
        typer.echo(f"{token.token_id}  {token.name:<20} {token.role.value}{scopes}, {ends}, {used}, made by {token.owner}")


@app.command(help="Make one. It is printed on standard output, this once.")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What is recorded of what it does: token:NAME.")],
    role: Annotated[Role, typer.Option("--role", help="What it may do, at most.")] = Role.VIEWER,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", metavar="AREA[:read]", help="Only this: runs, events, artifacts:read, ... Repeatable.")
    ] = None,
    days: Annotated[float | None, typer.Option("--days", min=0.0, help="It ends after so many.")] = None,
    as_json: AsJson = False,
) -> None:
    from penstock.deploy.areas.access import Access  # noqa: PLC0415 -- for the API alone

    with api(context) as connection:
        made = Access(connection).create_token(name, role, scopes=scope or (), days=days)
    if as_json:
        typer.echo(made.model_dump_json())
        return
    typer.echo(made.token)
    typer.echo(f"keep it: nobody can tell it again. It ends with: penstock tokens revoke {made.name}", err=True)


@app.command(help="End one, by its name or id. It is over within 5 seconds.")
def revoke(context: typer.Context, name: Annotated[str, typer.Argument(metavar="TOKEN")]) -> None:
    from penstock.deploy.areas.access import Access  # noqa: PLC0415 -- for the API alone

    with api(context) as connection:
        access = Access(connection)
        named = [token.token_id for token in access.tokens(limit=1000) if token.name == name and token.revoked_at is None]
        for token_id in named or [name]:
            access.revoke_token(token_id)
    typer.echo(f"{name} is revoked")


@app.command(help="What was asked for in the workspace, and refused; the newest first.")
def audit(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="So many.")] = 50,
    check: Annotated[bool, typer.Option("--check", help="See whether any entry was changed or taken away since.")] = False,
    as_json: AsJson = False,
) -> None:
    from penstock.deploy.areas.access import Access  # noqa: PLC0415 -- for the API alone

    with api(context) as connection:
        if check:
            wrong = Access(connection).first_wrong_entry()
            typer.echo(
                "the log is as it was written" if wrong is None else f"the log was changed: entry {wrong} is the first that is wrong"
            )
            raise typer.Exit(ExitCode.SUCCEEDED if wrong is None else ExitCode.RUN_FAILED)
        for _, entry in zip(range(limit), Access(connection).audit(), strict=False):
            if as_json:
                typer.echo(json.dumps(entry.model_dump(mode="json")))
            else:
                typer.echo(f"{entry.number:>6}  {_day(entry.at)}  {entry.outcome:<8} {entry.principal}  {entry.action}  {entry.subject}")


def _day(at: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at / 1e6))
