"""`penstock secrets`: those of the user, for steps on this machine."""

import sys
from typing import Annotated

import typer

from penstock.contracts.errors import InvalidInput
from penstock.deploy.user_secrets import read_secrets, secrets_file, write_secrets

app = typer.Typer(
    no_args_is_help=True,
    help="""Secrets of yours, for steps that run on this machine.

    A step names one, env_vars={"HF_TOKEN": Secret("hf")}, and finds its value in that variable. Nothing else of Penstock keeps or shows
    it. Runners elsewhere have secrets of their own.

    Examples:

        penstock secrets set hf                 asks for the value

        pass show hf | penstock secrets set hf

        penstock secrets ls
    """,
)


@app.command(name="ls", help="Their names.")
def names() -> None:
    for name in sorted(read_secrets()):
        typer.echo(name)


@app.command(name="set", help="Keep a secret; its value comes from a prompt, or from standard input.")
def keep(name: Annotated[str, typer.Argument(help="As steps name it.")]) -> None:
    # Not an argument: those are in the shell's history, and every process of the machine sees them.
    value = typer.prompt(f"value of {name}", hide_input=True) if sys.stdin.isatty() else sys.stdin.read().removesuffix("\n")
    if not value:
        raise InvalidInput(f"the value of {name} is empty; give it on standard input")
    write_secrets({**read_secrets(), name: value})
    typer.echo(f"kept in {secrets_file()}")


@app.command(name="rm", help="Forget a secret.")
def forget(name: Annotated[str, typer.Argument(help="As steps name it.")]) -> None:
    known = read_secrets()
    if name not in known:
        raise InvalidInput(f"there is no secret {name!r}; penstock secrets ls shows those there are")
    write_secrets({other: value for other, value in known.items() if other != name})
    typer.echo(f"forgot {name}")
