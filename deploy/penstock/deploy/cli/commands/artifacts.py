"""`penstock artifacts`: what steps produced, where it came from, and getting it out."""

from pathlib import Path
from typing import Annotated

import typer

from penstock.contracts.artifacts import ArtifactRef, Value, refs_in
from penstock.contracts.drawing import value_text
from penstock.contracts.errors import InvalidInput
from penstock.contracts.named_artifacts import SCHEME as _SCHEME
from penstock.contracts.named_artifacts import reference
from penstock.contracts.spec import decode_spec
from penstock.deploy.cli.addresses import LAST, chosen_output, located, one_step_run, steps_of
from penstock.deploy.cli.completion import names_of_runs_and_steps, run_names
from penstock.deploy.cli.durations import size_text
from penstock.deploy.cli.lineage import lineage_lines
from penstock.deploy.cli.progress import aligned
from penstock.deploy.cli.run_execution import save
from penstock.deploy.cli.summary import address
from penstock.deploy.cli.wiring import engine, housekeeping
from penstock.sdk.client import EngineClient

_Words = Annotated[list[str], typer.Argument(metavar="[RUN] STEP[/INDEX][.OUTPUT]", autocompletion=names_of_runs_and_steps)]

app = typer.Typer(
    no_args_is_help=True,
    help="""What steps produced.

    Examples:

        penstock artifacts ls

        penstock artifacts get report -o report.html

        penstock artifacts get retrain-7 split.train -o train.parquet

        penstock artifacts lineage report

        penstock artifacts tag churn@prod churn@3

        penstock artifacts ls churn
    """,
)


@app.command(name="ls", help="The outputs and attachments of a run's steps; or the versions of a named artifact.")
def list_artifacts(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="[RUN|NAME]", autocompletion=run_names)] = LAST,
    named: Annotated[bool, typer.Option("--named", help="Every named artifact.")] = False,
) -> None:
    with engine(context) as client:
        lines = _names(client) if named else _versions(client, run) if run.startswith(_SCHEME) else _outputs_or_versions(client, run)
    typer.echo("\n".join(lines))


def _outputs_or_versions(client: EngineClient, name: str) -> list[str]:
    try:
        view = client.run(name)
    except InvalidInput as error:
        try:
            return _versions(client, name)
        except InvalidInput as other:
            raise InvalidInput(f"{error}; {other}") from error
    table = [("artifact", "kind", "size", "contents")]
    for step_run in steps_of(client, view):
        for output, value in step_run.outputs.items():
            table.append((f"{address(step_run)}.{output}", *_described(value)))
        for attached, ref in step_run.attachments.items():
            table.append((f"{address(step_run)} ({attached})", *_described(ref)))
    return aligned(table)


def _versions(client: EngineClient, name: str) -> list[str]:
    from penstock.deploy.cli.named import registry_of, version_lines  # noqa: PLC0415 -- asks the API, which most commands don't

    return version_lines(registry_of(client).versions(reference(name).name))


def _names(client: EngineClient) -> list[str]:
    from penstock.deploy.cli.named import name_lines, registry_of  # noqa: PLC0415 -- as above

    return name_lines(registry_of(client))


@app.command(name="tag", help="Have NAME@ALIAS mean a version: NAME@3, a digest, or what a step gave. Later runs take it.")
def tag_artifact(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME@ALIAS")],
    words: Annotated[list[str], typer.Argument(metavar="DIGEST|NAME@VERSION|[RUN] STEP[.OUTPUT]", autocompletion=names_of_runs_and_steps)],
) -> None:
    from penstock.deploy.cli.named import tag  # noqa: PLC0415 -- as above

    with engine(context) as client:
        typer.echo(tag(client, name, words))


@app.command(help="Copy an output out of the artifact store.")
def get(
    context: typer.Context,
    words: _Words,
    to: Annotated[Path | None, typer.Option("-o", "--output", metavar="PATH", help="Where to; else ./<step>.<suffix>.")] = None,
) -> None:
    with engine(context) as client:
        if len(words) == 1 and words[0].startswith(_SCHEME):
            from penstock.deploy.cli.named import registry_of  # noqa: PLC0415 -- as above

            wanted_version = registry_of(client).version(reference(words[0]))
            path = to if to is not None else Path(_file_name(wanted_version.name, wanted_version.value))
            typer.echo(save(client, wanted_version.value, path))
            return
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
