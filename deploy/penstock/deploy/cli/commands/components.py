"""`penstock components`: published steps and pipelines that others take into theirs."""

import typer

from penstock.deploy.cli.published import add_commands

_HELP = """Published components: steps and pipelines that other pipelines take into theirs.

Examples:

    penstock components publish prep.py:clean --version 1.2

    penstock components ls

    penstock components deprecate clean@1.1 --note "rounds wrongly"

In a pipeline: `clean = component("clean@1.2")`, and then `clean(raw)` as any step.
"""
app = typer.Typer(help=_HELP, no_args_is_help=True)
add_commands(app, "component")
