"""`penstock resume`: go on with a run whose process died."""

from typing import Annotated

import typer

from penstock.deploy.cli.addresses import LAST
from penstock.deploy.cli.completion import run_names
from penstock.deploy.cli.run_resumption import resume_run
from penstock.deploy.cli.wiring import engine

app = typer.Typer()

_EXAMPLES = """Go on with a run whose process died. What was done stays done.

Examples:

    penstock resume               the last run

    penstock resume retrain-7
"""


@app.command(help=_EXAMPLES)
def resume(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="[RUN]", autocompletion=run_names)] = LAST,
    as_json: Annotated[bool, typer.Option("--json", help="Last line on stdout: the run as JSON.")] = False,
) -> None:
    with engine(context) as client:
        code = resume_run(client, run, as_json)
    raise typer.Exit(code)
