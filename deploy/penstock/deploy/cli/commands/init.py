"""`penstock init`: a project to start from."""

from pathlib import Path
from typing import Annotated

import typer

from penstock.deploy.cli.example_project import write_example

app = typer.Typer()

_EXAMPLES = """Write a project to start from: a pipeline that retrains a model, with its data.

Examples:

    penstock init my-project

    cd my-project && penstock run pipeline.py -p raw=drops/week-1.csv
"""


@app.command(help=_EXAMPLES)
def init(folder: Annotated[Path, typer.Argument(metavar="[DIR]")] = Path()) -> None:
    for path in write_example(folder):
        typer.echo(f"wrote {folder / path}")
    move = "" if folder == Path() else f"cd {folder} && "
    typer.echo(f"next: {move}penstock run pipeline.py -p raw=drops/week-1.csv")
