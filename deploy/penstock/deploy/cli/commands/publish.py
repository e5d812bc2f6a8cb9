"""`penstock publish`: make a version of a pipeline that never changes, for runs and triggers to name."""

from typing import Annotated, Literal

import typer

from penstock.contracts.publishing import VersionView
from penstock.deploy.areas.publishing import Publishing
from penstock.deploy.cli.loaded_pipeline import load
from penstock.deploy.cli.publication import published
from penstock.deploy.cli.published import AsJson
from penstock.deploy.cli.targets import parse_target
from penstock.deploy.cli.wiring import api_of, reached
from penstock.deploy.settings import Settings

app = typer.Typer()

_EXAMPLES = """Publish a version of a pipeline: it never changes, and its triggers come with it.

Examples:

    penstock publish pipeline.py                          the next number, as the default

    penstock publish pipeline.py:sales --triggers on      its triggers start runs from now on

    penstock publish pipeline.py --no-default --alias staging

    penstock pipelines run sales@staging                  run it

Without --version, what is published already as the newest version gets no new one.
"""


@app.command(help=_EXAMPLES)
def publish(  # noqa: PLR0913 -- one parameter for each option of the command
    context: typer.Context,
    file: Annotated[str | None, typer.Argument(metavar="FILE[:PIPELINE]", help="A pipeline file, and which pipeline in it.")] = None,
    module: Annotated[str | None, typer.Option("-m", metavar="MODULE[:PIPELINE]", help="A module instead of a file.")] = None,
    version: Annotated[str | None, typer.Option("--version", metavar="VERSION", help="Its name; else the next number.")] = None,
    triggers: Annotated[
        Literal["paused", "on"], typer.Option("--triggers", help="How triggers begin that are new; others stay as they are.")
    ] = "paused",
    default: Annotated[bool, typer.Option("--default/--no-default", help="Whether it becomes what runs take that name no version.")] = True,
    note: Annotated[str, typer.Option("--note", help="What is to be known of it.")] = "",
    alias: Annotated[list[str] | None, typer.Option("--alias", metavar="ALIAS", help="Another name for it, which may move here.")] = None,
    as_json: AsJson = False,
) -> None:
    target = parse_target(file, module)
    traced = load(context, target, for_services=Settings.read().names_services)
    with reached(context, target.start) as client:
        view = published(client, traced, version=version, trigger_state=triggers, makes_default=default, note=note)
        for name in alias or []:
            view = Publishing(api_of(client)).set_alias(view.name, name, view.version)
    if as_json:
        typer.echo(view.model_dump_json())
        return
    typer.echo("\n".join(_told(view, triggers)))


def _told(view: VersionView, state: str) -> list[str]:
    marks = [*(["the default"] if view.is_default else []), *view.aliases]
    lines = [f"{view.name}@{view.version} is published{' (' + ', '.join(marks) + ')' if marks else ''}"]
    if view.triggers and view.is_default:
        lines.append(f"triggers: {', '.join(view.triggers)}; new ones are {state} (penstock triggers ls)")
    elif view.triggers:
        lines.append(
            f"triggers: {', '.join(view.triggers)}; inert until it is the default: penstock pipelines default {view.name} {view.version}"
        )
    return [*lines, f"run it with: penstock pipelines run {view.name}{'' if view.is_default else '@' + view.version}"]
