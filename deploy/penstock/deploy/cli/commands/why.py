"""`penstock why`: what decided whether a step ran."""

import re
from typing import Annotated

import typer

from penstock.contracts.errors import InvalidInput
from penstock.contracts.views import Why
from penstock.deploy.cli.addresses import LAST, Address, located, step_names
from penstock.deploy.cli.completion import names_of_runs_and_steps
from penstock.deploy.cli.wiring import engine
from penstock.sdk.client import EngineClient

app = typer.Typer()

_EXAMPLES = """Why did a step run, or not? Names the first thing that differs.

Examples:

    penstock why                   every step of the last run

    penstock why train             a step of the last run

    penstock why retrain-3 train/2
"""
_INDEXES_SHOWN = 20
# Items of a fan-out whose reasons differ in such only have one reason.
_DIGEST = re.compile(r"\b[0-9a-f]{12}\b")


@app.command(help=_EXAMPLES)
def why(
    context: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(metavar="[RUN] [STEP]", autocompletion=names_of_runs_and_steps)] = None,
    full: Annotated[bool, typer.Option("--full", help="Every component that differs, with both values.")] = False,
) -> None:
    with engine(context) as client:
        answers = [answer for address in _addresses(client, words or []) for answer in _grouped(client, address)]
    width = max((len(label) for label, _ in answers), default=0)
    for label, reason in answers:
        _say(label.ljust(width), reason, full)
    compared = sorted({reason.compared_with for _, reason in answers if reason.compared_with and reason.differences})
    if compared:
        typer.echo(f"compared with {', '.join(compared)}" + ("" if full else "; both values of all that differs: --full"))


def _addresses(client: EngineClient, words: list[str]) -> list[Address]:
    """Of one step, or of all where only a run (or nothing) is named. A single word is a step of the last run before it is a run."""
    if len(words) == 2:
        return [located(client, words)]
    run = client.run(LAST)
    if words:
        try:
            return [located(client, words)]
        except InvalidInput:
            if not any(words[0] in (view.name, view.run_id, str(view.number)) for view in client.runs(limit=1000)):
                raise
        run = client.run(words[0])
    return [Address(run=run, step=name) for name in step_names(run)]


def _grouped(client: EngineClient, address: Address) -> list[tuple[str, Why]]:
    """One entry for all indexes of the same verdict, so that a fan-out of a thousand is a line."""
    run, depth = address.run.run_id, len(address.index)
    step_runs = [found for found in client.step_runs(run, address.step) if found.index[:depth] == address.index]
    if not step_runs:
        return [(str(address), client.why(run, address.step, address.index))]
    reasons: dict[str, list[tuple[tuple[int, ...], Why]]] = {}
    for step_run in step_runs[:_INDEXES_SHOWN]:
        reason = client.why(run, address.step, step_run.index)
        reasons.setdefault(_DIGEST.sub("…", reason.verdict), []).append((step_run.index, reason))
    answers: list[tuple[str, Why]] = []
    for verdict, found in reasons.items():
        same = len({reason.verdict for _, reason in found}) == 1
        reason = found[0][1] if same else found[0][1].model_copy(update={"verdict": verdict})
        answers.append((_label(address.step, [index for index, _ in found]), reason))
    return answers


def _label(step: str, indexes: list[tuple[int, ...]]) -> str:
    texts = ["/".join(map(str, index)) for index in indexes]
    if texts == [""]:
        return step
    return f"{step}/{texts[0]}" if len(texts) == 1 else f"{step}/{texts[0]} … {texts[-1]} ({len(texts)})"


def _say(label: str, reason: Why, full: bool) -> None:
    typer.echo(f"{label}  {reason.verdict}")
    if full:
        for difference in reason.differences:
            typer.echo(f"    {difference.component}: {difference.before or 'nothing'} -> {difference.after or 'nothing'}")
    for note in reason.notes:
        typer.echo(f"    note: {note}")
