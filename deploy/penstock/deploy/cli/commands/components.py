"""`penstock components`: published steps and pipelines that others take into theirs."""

import json
from typing import Annotated

import typer

from penstock.contracts.publishing import PublishComponentRequest
from penstock.contracts.spec import encode_spec
from penstock.deploy.areas.publishing import Publishing
from penstock.deploy.cli.loaded_pipeline import stored_spec
from penstock.deploy.cli.published import AsJson, add_commands
from penstock.deploy.cli.targets import parse_target
from penstock.deploy.cli.tracer import component
from penstock.deploy.cli.wiring import api_of, reached

_HELP = """Published components: steps and pipelines that other pipelines take into theirs.

Examples:

    penstock components publish prep.py:clean --version 1.2

    penstock components ls

    penstock components deprecate clean@1.1 --note "rounds wrongly"

In a pipeline: `clean = component("clean@1.2")`, and then `clean(raw)` as any step.
"""
app = typer.Typer(help=_HELP, no_args_is_help=True)
add_commands(app, "component")


@app.command(help="Publish a step or a pipeline for other pipelines: a version of it that never changes.")
def publish(
    context: typer.Context,
    file: Annotated[str | None, typer.Argument(metavar="FILE:NAME", help="A file, and the step or pipeline in it.")] = None,
    module: Annotated[str | None, typer.Option("-m", metavar="MODULE:NAME", help="A module instead of a file.")] = None,
    version: Annotated[str | None, typer.Option("--version", metavar="VERSION", help="Its name; else the next number.")] = None,
    default: Annotated[bool, typer.Option("--default/--no-default", help="Whether it is meant where nobody names a version.")] = True,
    note: Annotated[str, typer.Option("--note", help="What is to be known of it.")] = "",
    as_json: AsJson = False,
) -> None:
    target = parse_target(file, module)
    kind, traced = component(target)
    with reached(context, target.start) as client:
        spec = json.loads(encode_spec(stored_spec(traced, client)))
        plain = {"kind": kind, "spec": spec, "version": version, "makes_default": default, "note": note}
        view = Publishing(api_of(client), "component").publish_component(PublishComponentRequest.model_validate(plain))
    if as_json:
        typer.echo(view.model_dump_json())
        return
    typer.echo(f"{view.name}@{view.version} is published{' (the default)' if view.is_default else ''}")
    typer.echo(f'take it into a pipeline with: {view.name.replace("-", "_")} = component("{view.name}@{view.version}")')
