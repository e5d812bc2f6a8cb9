"""`penstock members`: who may do what in a workspace."""

from typing import Annotated

import typer

from penstock.contracts.access import Role
from penstock.deploy.cli.wiring import api

_HELP = """Members of a workspace: people, as the identity provider calls them, and groups of theirs.

Examples:

    penstock members add alice@example.org --role author

    penstock members add group:platform --role admin --everywhere

    penstock members ls

    penstock members rm alice@example.org
"""
app = typer.Typer(help=_HELP, no_args_is_help=True)
Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="A person, or group:NAME.")]
Everywhere = Annotated[bool, typer.Option("--everywhere", help="In all workspaces; takes an admin of all.")]


@app.command(name="ls", help="Members, and what they may do. `*` is every workspace.")
def list_members(context: typer.Context) -> None:
    from penstock.deploy.areas.access import Access  # noqa: PLC0415 -- for the API alone

    with api(context) as connection:
        for member in Access(connection).members():
            typer.echo(f"{member.subject:<40} {member.role.value:<10} {member.workspace}")


@app.command(help="Give somebody a role, in place of the one they have.")
def add(
    context: typer.Context, subject: Subject, role: Annotated[Role, typer.Option("--role")] = Role.VIEWER, everywhere: Everywhere = False
) -> None:
    from penstock.deploy.areas.access import Access  # noqa: PLC0415 -- for the API alone

    with api(context) as connection:
        Access(connection).put_member(subject, role, everywhere=everywhere)
    typer.echo(f"{subject} is {role.value}{' everywhere' if everywhere else ''}")


@app.command(name="rm", help="Take the role away. Tokens that they made there end with it.")
def remove(context: typer.Context, subject: Subject, everywhere: Everywhere = False) -> None:
    from penstock.deploy.areas.access import Access  # noqa: PLC0415 -- for the API alone

    with api(context) as connection:
        Access(connection).remove_member(subject, everywhere=everywhere)
    typer.echo(f"{subject} is no member any more")
