"""Peers that need no server, doing the same: steps that pass a number. Runs by itself under an interpreter that has them installed,
`PYTHON bench/peers.py PEER`; what is not installed there is skipped with a line that says so.
"""

import importlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CHAIN, _FAN = 100, 1000


def peer_rows(python: str, runs: int) -> list[tuple[str, ...]]:
    """One row a peer: medians of `runs`, each in a fresh process of the interpreter `python`."""
    return [_row(python, name, runs) for name in PEERS]


def _row(python: str, name: str, runs: int) -> tuple[str, ...]:
    found: list[list[float]] = []
    for _ in range(runs):
        done = subprocess.run([python, str(Path(__file__)), name], check=False, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            return (name, f"skipped: {(done.stderr.splitlines() or ['no answer'])[-1]}", "")
        found.append(json.loads(lines[-1]))
    chain, fan = (statistics.median(values) for values in zip(*found, strict=True))
    return (name, f"{chain / _CHAIN * 1e3:.2f}", f"{_FAN / fan:,.0f}")


def luigi() -> tuple[float, float]:
    """Two worker processes, a file a task, no central scheduler."""
    luigi: Any = importlib.import_module("luigi")
    folder = Path(tempfile.mkdtemp(prefix="luigi-"))

    class Plus(luigi.Task):  # type: ignore[misc]  # it is known at run time only
        name = luigi.Parameter()
        before = luigi.IntParameter()

        def requires(self) -> list[Any]:
            return [Plus(name=self.name, before=self.before - 1)] if self.before else []

        def output(self) -> Any:
            return luigi.LocalTarget(str(folder / f"{self.name}-{self.before}"))

        def run(self) -> None:
            Path(self.output().path).write_text(str(self.before))

    def build(tasks: list[Any]) -> None:
        if not luigi.build(tasks, local_scheduler=True, workers=2, log_level="ERROR"):
            raise RuntimeError("luigi failed")

    return _seconds(lambda: build([Plus(name="chain", before=_CHAIN - 1)])), _seconds(
        lambda: build([Plus(name=f"fan{number}", before=0) for number in range(_FAN)])
    )


def dask() -> tuple[float, float]:
    """Two worker processes; nothing is kept."""
    distributed: Any = importlib.import_module("distributed")
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:

        def chain() -> None:
            future: Any = 0
            for _ in range(_CHAIN):
                future = client.submit(_plus_one, future, pure=False)
            future.result()

        def fan() -> None:
            client.submit(max, client.map(_plus_one, range(_FAN), pure=False)).result()

        client.submit(_plus_one, 0).result()
        return _seconds(chain), _seconds(fan)


PEERS: dict[str, Callable[[], tuple[float, float]]] = {"luigi": luigi, "dask": dask}


def _plus_one(number: int) -> int:
    return number + 1


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    needed = {"dask": "distributed"}.get(sys.argv[1], sys.argv[1])
    if importlib.util.find_spec(needed) is None:
        sys.exit(f"{needed} is not installed for {sys.executable}")
    print(json.dumps(PEERS[sys.argv[1]]()))
