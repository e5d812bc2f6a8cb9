"""`penstock approve` and `penstock reject`: answer what a run asks."""

from typing import Annotated

import typer

from penstock.contracts.approvals import ApprovalView, DecisionRequest
from penstock.contracts.errors import InvalidInput
from penstock.deploy.cli.addresses import LAST
from penstock.deploy.cli.answering import Answers, answers
from penstock.deploy.cli.completion import names_of_runs_and_steps
from penstock.sdk.client import EngineClient

app = typer.Typer()
rejection = typer.Typer()
_Words = Annotated[
    list[str] | None, typer.Argument(metavar="[RUN] [STEP[/INDEX]]", autocompletion=names_of_runs_and_steps, show_default=False)
]
_Comment = Annotated[str, typer.Option("--comment", "-m", help="Kept with the answer; steps can read it.")]
_EXAMPLES = """{title} what a run asks. Without RUN, the last run that waits for an answer.

Examples:

    penstock {verb}

    penstock {verb} retrain-7 --comment "{comment}"

    penstock {verb} retrain-7 approval/3      one of several
"""


@app.command(help=_EXAMPLES.format(title="Approve", verb="approve", comment="better in every region"))
def approve(context: typer.Context, words: _Words = None, comment: _Comment = "") -> None:
    decide(context, words or [], DecisionRequest(approved=True, comment=comment))


@rejection.command(help=_EXAMPLES.format(title="Reject", verb="reject", comment="too few rows"))
def reject(context: typer.Context, words: _Words = None, comment: _Comment = "") -> None:
    decide(context, words or [], DecisionRequest(approved=False, comment=comment))


def decide(context: typer.Context, words: list[str], request: DecisionRequest) -> None:
    """Answers the approval that the words mean, and says so."""
    with answers(context) as (client, approvals):
        view = _found(approvals, words)
        typer.echo(f"{view.run_name}: {view.question}")
        decided = approvals.decide(view, request)
        typer.echo(_said(client, decided))


def _found(approvals: Answers, words: list[str]) -> ApprovalView:
    """Names of steps may hold slashes themselves: what is asked tells where the index begins."""
    match words:
        case []:
            return approvals.find(LAST)
        case [run]:
            return approvals.find(run)
        case [run, address]:
            asked = [view for view in approvals.list(run, only_open=False) if view.address == address]
            if len(asked) == 1:
                return approvals.find(run, asked[0].step, asked[0].index)
            return approvals.find(run, address)
        case _:
            raise InvalidInput("name a run, and one of its approvals where it waits for several: [RUN] [STEP[/INDEX]]")


def _said(client: EngineClient, view: ApprovalView) -> str:
    said = f"{view.address} of {view.run_name} is {view.state} by {view.decided_by}"
    run = client.run(view.run_id)
    return (
        said
        if run.is_owned_by_live_process or run.state.is_terminal
        else f"{said}; its process died, go on with: penstock resume {run.name}"
    )
