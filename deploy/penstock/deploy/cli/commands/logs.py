"""`penstock logs`: what a step printed, while it prints or afterwards."""

import time
from typing import Annotated

import typer

from penstock.deploy.cli.addresses import located
from penstock.deploy.cli.completion import names_of_runs_and_steps
from penstock.deploy.cli.log_text import follow_log, write_logs
from penstock.deploy.cli.wiring import engine

app = typer.Typer()

_EXAMPLES = """Show what a step printed (stdout and stderr).

Examples:

    penstock logs train              a step of the last run

    penstock logs train/3 -f         go on while it runs

    penstock logs retrain-7 train/3 --attempt 1
"""


@app.command(help=_EXAMPLES)
def logs(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="[RUN] STEP[/INDEX]", autocompletion=names_of_runs_and_steps)],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the step ends.")] = False,
    attempt: Annotated[int | None, typer.Option("--attempt", metavar="N", help="That attempt; else the last.")] = None,
) -> None:
    with engine(context) as client:
        address = located(client, words)
        if follow:
            follow_log(client, address, pause=time.sleep)
        else:
            write_logs(client, address, attempt)
