"""`penstock artifacts`: what steps produced, where it came from, and getting it out."""

from pathlib import Path
from typing import Annotated

import typer

from penstock.contracts.artifacts import ArtifactRef, Value, refs_in
from penstock.contracts.drawing import value_text
from penstock.contracts.spec import decode_spec
from penstock.deploy.cli.addresses import LAST, chosen_output, located, one_step_run, steps_of
from penstock.deploy.cli.completion import names_of_runs_and_steps, run_names
from penstock.deploy.cli.durations import size_text
from penstock.deploy.cli.lineage import lineage_lines
from penstock.deploy.cli.progress import aligned
from penstock.deploy.cli.run_execution import save
from penstock.deploy.cli.summary import address
from penstock.deploy.cli.wiring import engine, housekeeping

_Words = Annotated[list[str], typer.Argument(metavar="[RUN] STEP[/INDEX][.OUTPUT]", autocompletion=names_of_runs_and_steps)]

app = typer.Typer(
    no_args_is_help=True,
    help="""What steps produced.

    Examples:

        penstock artifacts ls

        penstock artifacts get report -o report.html

        penstock artifacts get retrain-7 split.train -o train.parquet

        penstock artifacts lineage report
    """,
)


@app.command(name="ls", help="The outputs and attachments of a run's steps.")
def list_artifacts(context: typer.Context, run: Annotated[str, typer.Argument(metavar="[RUN]", autocompletion=run_names)] = LAST) -> None:
    table = [("artifact", "kind", "size", "contents")]
    with engine(context) as client:
        view = client.run(run)
        for step_run in steps_of(client, view):
            for output, value in step_run.outputs.items():
                table.append((f"{address(step_run)}.{output}", *_described(value)))
            for name, ref in step_run.attachments.items():
                table.append((f"{address(step_run)} ({name})", *_described(ref)))
    typer.echo("\n".join(aligned(table)))


@app.command(help="Copy an output out of the artifact store.")
def get(
    context: typer.Context,
    words: _Words,
    to: Annotated[Path | None, typer.Option("-o", "--output", metavar="PATH", help="Where to; else ./<step>.<suffix>.")] = None,
) -> None:
    with engine(context) as client:
        wanted = located(client, words)
        step_run = one_step_run(client, wanted)
        value = step_run.outputs[chosen_output(step_run, wanted.output)]
        typer.echo(save(client, value, to if to is not None else Path(_file_name(step_run.step, value))))


@app.command(help="What an output was made of, back to the pipeline's parameters.")
def lineage(
    context: typer.Context,
    words: _Words,
) -> None:
    with engine(context) as client:
        wanted = located(client, words)
        spec = decode_spec(housekeeping(client).spec(wanted.run.run_id))
        for line in lineage_lines(client, wanted.run, spec, one_step_run(client, wanted)):
            typer.echo(line)


def _described(value: Value) -> tuple[str, str, str]:
    if isinstance(value, ArtifactRef):
        kind = "value" if value.is_inline else f"{value.kind}{value.suffix and ' ' + value.suffix}"
        return kind, size_text(value.size), value_text(value, 60)
    refs = refs_in(value)
    return type(value).__name__.removesuffix("Value").lower(), size_text(sum(ref.size for ref in refs)), f"{len(refs)} artifacts"


def _file_name(step: str, value: Value) -> str:
    if isinstance(value, ArtifactRef) and not value.is_inline:
        return value.name or f"{step}{value.suffix}"
    return f"{step}.json"
