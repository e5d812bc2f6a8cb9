"""The demonstration: the example, run three times by the same commands that people type."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from penstock.contracts.errors import InvalidInput

_NEEDED = ("matplotlib", "pandas", "pyarrow", "sklearn")
_RUN = ("run", "pipeline.py", "--save", "result=report.html", "-p")
_THIRD = """3. A new drop: `describe` and `split` are executed, but find the same schema and the same reference samples as before;
   so `dictionary` and `baseline`, which read nothing else, are hits."""
_ACTS = (
    ("1. The first drop of data: every step is executed.", ((*_RUN, "raw=drops/week-1.csv"),)),
    ("2. The same again: every step is a hit, nothing is executed.", ((*_RUN, "raw=drops/week-1.csv"), ("why",))),
    (
        _THIRD,
        ((*_RUN, "raw=drops/week-2.csv"), ("why",)),
    ),
)


def check_libraries() -> None:
    """:raises InvalidInput: the libraries that the example computes with are not installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidInput(f"the demonstration computes with {', '.join(missing)}; install them with: pip install 'penstock[demo]'")


def demonstrate(folder: Path, say: Callable[[str], None]) -> int:
    """Runs the acts in `folder`, each in a process of its own; the first exit code other than 0 ends it."""
    for title, commands in _ACTS:
        say(f"\n{title}\n")
        for arguments in commands:
            say(f"$ penstock {' '.join(arguments)}")
            code = _penstock(folder, arguments)
            if code != 0:
                return code
            say("")
    return 0


def _penstock(folder: Path, arguments: tuple[str, ...]) -> int:
    environment = {**os.environ, "PENSTOCK_HOME": str(folder / ".penstock")}
    command = [sys.executable, "-c", "from penstock.deploy.main import main; main()", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode
