"""`penstock graph`: a pipeline as text, Mermaid or Graphviz."""

from enum import StrEnum
from typing import Annotated

import typer

from penstock.contracts.diagrams import as_dot, as_mermaid
from penstock.contracts.drawing import as_text
from penstock.deploy.cli.loaded_pipeline import load
from penstock.deploy.cli.targets import parse_target

app = typer.Typer()

_EXAMPLES = """Draw a pipeline.

Examples:

    penstock graph pipeline.py

    penstock graph pipeline.py --format mermaid > graph.mmd

    penstock graph pipeline.py --format dot | dot -Tsvg > graph.svg
"""


class Format(StrEnum):
    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"


@app.command(help=_EXAMPLES)
def graph(
    context: typer.Context,
    file: Annotated[str | None, typer.Argument(metavar="FILE[:PIPELINE]")] = None,
    module: Annotated[str | None, typer.Option("-m", metavar="MODULE[:PIPELINE]", help="A module instead of a file.")] = None,
    form: Annotated[Format, typer.Option("--format", "-f", help="How to draw.")] = Format.TEXT,
) -> None:
    spec = load(context, parse_target(file, module)).spec
    draw = {Format.TEXT: as_text, Format.MERMAID: as_mermaid, Format.DOT: as_dot}[form]
    typer.echo(draw(spec))
