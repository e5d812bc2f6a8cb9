"""`penstock graph`: a pipeline as text, Mermaid, Graphviz or YAML."""

from enum import StrEnum
from typing import Annotated

import typer

from penstock.contracts.diagrams import as_dot, as_mermaid
from penstock.contracts.drawing import as_text
from penstock.deploy.cli.loaded_pipeline import load
from penstock.deploy.cli.targets import parse_target
from penstock.deploy.cli.wiring import wiring

app = typer.Typer()

_EXAMPLES = """Draw a pipeline.

Examples:

    penstock graph pipeline.py

    penstock graph pipeline.py --format mermaid > graph.mmd

    penstock graph pipeline.py --format dot | dot -Tsvg > graph.svg

    penstock graph pipeline.py --format yaml > pipeline.yaml      which can be run too
"""


class Format(StrEnum):
    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"
    YAML = "yaml"


@app.command(help=_EXAMPLES)
def graph(
    context: typer.Context,
    file: Annotated[str | None, typer.Argument(metavar="FILE[:PIPELINE]")] = None,
    module: Annotated[str | None, typer.Option("-m", metavar="MODULE[:PIPELINE]", help="A module instead of a file.")] = None,
    form: Annotated[Format, typer.Option("--format", "-f", help="How to draw it.")] = Format.TEXT,
) -> None:
    target = parse_target(file, module)
    if form is Format.YAML:
        typer.echo(wiring(context).document(target), nl=False)
        return
    spec = load(context, target).spec
    draw = {Format.TEXT: as_text, Format.MERMAID: as_mermaid, Format.DOT: as_dot}[form]
    typer.echo(draw(spec))
