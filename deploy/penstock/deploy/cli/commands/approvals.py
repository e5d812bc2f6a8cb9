"""`penstock approvals`: what runs ask people."""

import json
import time
from typing import Annotated

import typer

from penstock.contracts.approvals import ApprovalView
from penstock.contracts.drawing import value_text
from penstock.deploy.cli.answering import answers
from penstock.deploy.cli.completion import run_names
from penstock.deploy.cli.durations import age_text, seconds_text
from penstock.deploy.cli.progress import aligned

app = typer.Typer()
_SHOWN = 100
_Line = tuple[str, str, str, str, str, str]
_EXAMPLES = """What waits for people, oldest first; answer with `penstock approve` and `penstock reject`.

Examples:

    penstock approvals

    penstock approvals retrain-7 --all
"""


@app.command(help=_EXAMPLES)
def approvals(
    context: typer.Context,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", autocompletion=run_names, show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="What was answered, too; newest first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,
) -> None:
    with answers(context) as (_, asked):
        views = asked.list(run, only_open=not everything)
    if as_json:
        for view in views:
            typer.echo(json.dumps(view.model_dump(mode="json"), ensure_ascii=False))
        return
    if not views:
        typer.echo("nothing was asked" if everything else "nothing waits for an approval")
        return
    table: list[_Line] = [("run", "approval", "state", "asked", "left", "question")]
    table += [_line(view, time.time_ns() // 1000) for view in views]
    lines = aligned(table)
    if len(views) == 1:
        lines += [f"  {name} = {value_text(value, 100)}" for name, value in views[0].evidence.items()]
    typer.echo("\n".join(lines))


def _line(view: ApprovalView, now: int) -> _Line:
    is_open = view.state == "open"
    left = seconds_text((view.expires_at - now) / 1e6) if view.expires_at is not None and is_open else ""
    whom = f" by {view.decided_by}" if view.decided_by else f" ({' or '.join(view.approvers)})" if view.approvers and is_open else ""
    return (view.run_name, view.address, view.state + whom, age_text((now - view.asked_at) / 1e6), left, _short(view.question))


def _short(question: str) -> str:
    line = " ".join(question.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
