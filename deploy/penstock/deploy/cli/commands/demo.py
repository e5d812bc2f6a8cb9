"""`penstock demo`: a model is retrained three times before your eyes."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from penstock.deploy.cli.demonstration import check_libraries, demonstrate
from penstock.deploy.cli.example_project import write_example

app = typer.Typer()

_EXAMPLES = """Run the example three times: first, again, and with a new drop of data.

Examples:

    penstock demo                 in a temporary folder

    penstock demo my-project      in a folder that you keep
"""


@app.command(help=_EXAMPLES)
def demo(folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="A new folder; else a temporary one.")] = None) -> None:
    check_libraries()
    place = folder.absolute() if folder is not None else Path(tempfile.mkdtemp(prefix="penstock-demo-"))
    write_example(place)
    code = demonstrate(place, _say)
    if code == 0:
        _say(f"The report:  {place / 'report.html'}")
        _say(f"Try next:    cd {place}")
        _say("             change a line of `plot` in pipeline.py, then: penstock run pipeline.py -p raw=drops/week-2.csv")
        _say("             penstock why          penstock graph pipeline.py          penstock artifacts lineage report")
    raise typer.Exit(code)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    # What the commands print goes to the same place by other processes.
    sys.stdout.flush()
