"""The command tree. A command's module is imported when it is invoked, never before: `penstock run` pays for `run` alone."""

import os
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from penstock.contracts.errors import PenstockError
from penstock.deploy.cli.exits import ExitCode, code_of_error
from penstock.deploy.cli.loading import uncollected

# Name to the module that defines it, in the order in which help lists them.
_COMMANDS = {
    "run": "run",
    "submit": "submit",
    "check": "check",
    "graph": "graph",
    "runs": "runs",
    "why": "why",
    "debug": "debug",
    "logs": "logs",
    "resume": "resume",
    "rerun": "rerun",
    "approvals": "approvals",
    "approve": "approve",
    "reject": "reject",
    "artifacts": "artifacts",
    "cache": "cache",
    "gc": "gc",
    "secrets": "secrets",
    "publish": "publish",
    "pipelines": "pipelines",
    "components": "components",
    "init": "init",
    "demo": "demo",
    "doctor": "doctor",
    "status": "status",
    "emit": "emit",
    "events": "events",
    "triggers": "triggers",
    "subscriptions": "subscriptions",
    "pools": "pools",
    "runners": "runners",
    "login": "login",
    "logout": "logout",
    "tokens": "tokens",
    "members": "members",
    "workspaces": "workspaces",
    "db": "db",
    "topology": "topology",
    "dev": "dev",
    "coordinator": "coordinator",
    "runner": "runner",
    "api": "api",
    "autoscaler": "autoscaler",
}
_HELP = """Run machine-learning pipelines: only what changed is run again, and `why` says why.

A first try:

    penstock demo                                  a model is retrained three times before your eyes

    penstock init my-project                       start from that example

    penstock run pipeline.py -p raw=data.csv       run a pipeline file

    penstock why train                             why did `train` run, or not?

On services:

    penstock submit pipeline.py --follow           hand a run over, and watch it there

    penstock status                                what runs, what waits, and what for
"""


class LazyGroup(TyperGroup):
    """A group that imports a command's module on demand, and ends commands with the exit codes that are documented."""

    @override
    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    @override
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        with uncollected():
            module = import_module(f"penstock.deploy.cli.commands.{_COMMANDS[cmd_name]}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PenstockError as error:
            sys.stderr.write(f"error: {error}\n")
            raise typer.Exit(code_of_error(error)) from error
        except KeyboardInterrupt as error:
            sys.stderr.write("interrupted\n")
            raise typer.Exit(ExitCode.INTERRUPTED) from error


app = typer.Typer(
    cls=LazyGroup,
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"penstock {metadata.version('penstock')}")
        raise typer.Exit


@app.callback(invoke_without_command=False)
def _root(
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="NAME", help="Take settings of this profile in penstock.toml.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and end.", callback=_tell_version)] = False,
) -> None:
    del version
    if profile is not None:
        # Where everything that this command imports or starts finds it, the user's own code among it.
        os.environ["PENSTOCK_PROFILE"] = profile


application: Callable[[], Any] = app
