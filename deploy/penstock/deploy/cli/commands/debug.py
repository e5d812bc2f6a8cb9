"""`penstock debug`: a step again, in this process, under a debugger."""

from typing import Annotated

import typer

from penstock.deploy.cli.addresses import located, one_step_run
from penstock.deploy.cli.completion import names_of_runs_and_steps
from penstock.deploy.cli.debugging import debug_step_run
from penstock.deploy.cli.wiring import engine

app = typer.Typer()

_EXAMPLES = """Call a step's function in this process with the inputs it had; if it raises, a debugger opens where it did.
Of a step that is a program: a shell beside its files and inputs.

Examples:

    penstock debug train                 of the last run

    penstock debug retrain-7 train/3
"""


@app.command(help=_EXAMPLES)
def debug(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="[RUN] STEP[/INDEX]", autocompletion=names_of_runs_and_steps)],
    breakpoint_first: Annotated[bool, typer.Option("--break", help="Stop at the first line of the step.")] = False,
) -> None:
    with engine(context) as client:
        address = located(client, words)
        code = debug_step_run(client, address.run, one_step_run(client, address), breakpoint_first)
    raise typer.Exit(code)
