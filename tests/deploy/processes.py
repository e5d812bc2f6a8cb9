"""The `penstock` script in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = [sys.executable, "-c", "import sys; sys.argv[0] = 'penstock'; from penstock.deploy.main import main; main()"]


def penstock(folder: Path, *arguments: str, typed: str = "", limit: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs a command in `folder` to its end; the state folder is `home` in it. `typed` is its input."""
    command, variables = [*PROGRAM, *arguments], _environment(folder)
    return subprocess.run(command, cwd=folder, env=variables, input=typed, capture_output=True, text=True, check=False, timeout=limit)


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts a command in `folder`; its output is a pipe of lines."""
    command = [*PROGRAM, *arguments]
    return subprocess.Popen(command, cwd=folder, env=_environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PENSTOCK_HOME": str(folder / "home")}
