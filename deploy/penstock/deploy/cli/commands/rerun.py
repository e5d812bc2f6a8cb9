"""`penstock rerun`: run a run again, as a new one."""

from enum import StrEnum
from typing import Annotated

import typer

from penstock.deploy.cli.addresses import LAST
from penstock.deploy.cli.completion import run_names
from penstock.deploy.cli.run_resumption import rerun_run
from penstock.deploy.cli.wiring import engine

app = typer.Typer()

_EXAMPLES = """Run a run again, as a new run with the same parameters and today's code.

Examples:

    penstock rerun --failed               what failed in the last run, and all below it

    penstock rerun retrain-7 --from train

    penstock rerun retrain-7              everything, whatever the cache holds
"""


class Code(StrEnum):
    TODAY = "today"
    ORIGINAL = "original"


@app.command(help=_EXAMPLES)
def rerun(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="[RUN]", autocompletion=run_names)] = LAST,
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed, and all below it.")] = False,
    from_step: Annotated[str | None, typer.Option("--from", metavar="STEP", help="This step, and all below it.")] = None,
    code: Annotated[Code, typer.Option("--code", help="The code of that run instead of today's.")] = Code.TODAY,
    as_json: Annotated[bool, typer.Option("--json", help="Last line on stdout: the run as JSON.")] = False,
) -> None:
    with engine(context) as client:
        exit_code = rerun_run(context, client, run, failed=failed, from_step=from_step, original=code is Code.ORIGINAL, as_json=as_json)
    raise typer.Exit(exit_code)
