"""The demonstration's pipeline by the command line, once to execute it and then all hits, with a look at what that imported."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.measure import environment
from penstock.deploy.cli.example_project import write_example

# The command as people type it; at its end it tells what it had imported, and whether it had started other processes.
_PROGRAM = """
import atexit, json, resource, sys
def tell():
    imported = [name for name in ("matplotlib", "numpy", "pandas", "pyarrow", "sklearn") if name in sys.modules]
    processes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0
    sys.stderr.write("\\n" + json.dumps({"imported": imported, "processes": processes}))
atexit.register(tell)
from penstock.deploy.main import main
main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRun:
    """`imported`: the user's libraries in the command's process. Where it started no other process, no other imported them either."""

    seconds: float
    executed: int
    imported: tuple[str, ...]
    started_processes: bool


def demo_runs(folder: Path, again: int) -> list[DemoRun]:
    """The first run, and `again` runs of the same."""
    write_example(folder)
    return [_run(folder) for _ in range(again + 1)]


def _run(folder: Path) -> DemoRun:
    command = [sys.executable, "-c", _PROGRAM, "run", "pipeline.py", "-p", "raw=drops/week-1.csv", "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(folder / ".penstock"), capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    told = json.loads(done.stderr.splitlines()[-1])
    steps = json.loads(done.stdout.splitlines()[-1])["steps"]
    executed = sum(step["state"] == "succeeded" and not step["hit"] for step in steps)
    return DemoRun(seconds=seconds, executed=executed, imported=tuple(told["imported"]), started_processes=told["processes"])
