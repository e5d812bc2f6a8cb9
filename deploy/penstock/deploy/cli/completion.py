"""What a shell offers for the words of a command: names of the newest runs, and of the last run's steps."""

from contextlib import suppress

import typer

from penstock.contracts.errors import PenstockError
from penstock.deploy.cli.addresses import step_names
from penstock.deploy.cli.wiring import engine, home_of

_RUNS = 20


def run_names(context: typer.Context, incomplete: str) -> list[str]:
    """For `[RUN]`."""
    return [name for name in _names(context)[0] if name.startswith(incomplete)]


def names_of_runs_and_steps(context: typer.Context, incomplete: str) -> list[str]:
    """For `[RUN] STEP`."""
    runs, steps = _names(context)
    return [name for name in [*steps, *runs] if name.startswith(incomplete)]


def _names(context: typer.Context) -> tuple[list[str], list[str]]:
    """Runs and steps; nothing where nothing was run yet, for a shell's question must not make a state folder."""
    if home_of().exists():
        # Whatever is wrong, a command would say it; a shell would show it in the middle of a line.
        with suppress(PenstockError), engine(context) as client:
            newest = client.runs(limit=_RUNS)
            return [view.name for view in newest], step_names(client.run(newest[0].run_id)) if newest else []
    return [], []
