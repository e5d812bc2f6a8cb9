"""A shell where a program ran: its files as they were, its inputs, and the command to try again."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import CommandTarget, StepSpec
from penstock.contracts.views import StepRunView
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.summary import address
from penstock.runners.program import prepare_program


def open_shell(step: StepSpec, step_run: StepRunView, snapshot: Path | None, local: Callable[[ArtifactRef], Path]) -> ExitCode:
    """Fills the current, empty folder, says the command, and gives a shell there until the user leaves it.

    :raises InvalidInput: the step is no program, or no shell can be started.
    """
    if not isinstance(step.run, CommandTarget):
        raise InvalidInput(f"{step.name!r} runs neither a function nor a program; see: penstock logs {step.name}")
    with tempfile.TemporaryDirectory(prefix="penstock-debug-inputs-") as staging:
        order = {
            "folder": step.run.workdir,
            "snapshot": str(snapshot or ""),
            "staging": staging,
            "outputs": [output.model_dump() for output in step.outputs],
            "command": [argument.model_dump() for argument in step.run.command],
        }
        prepared = prepare_program(order, step_run.inputs, local)
        outputs = "".join(f"\n{name} is to be written to {place}" for name, place in prepared.places.items())
        sys.stdout.write(f"{address(step_run)} ran:\n  {shlex.join(prepared.arguments)}{outputs}\na shell in its folder (exit ends it):\n")
        sys.stdout.flush()
        return _shell()


def _shell() -> ExitCode:
    shell = os.environ.get("SHELL") or "/bin/sh"
    try:
        # How it ended is how its last command did, which says nothing of this one.
        subprocess.run([shell], check=False)
    except OSError as error:
        raise InvalidInput(f"the shell {shell} can't be started: {error.strerror}; set SHELL to another") from error
    return ExitCode.SUCCEEDED
