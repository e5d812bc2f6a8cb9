"""What this machine can do at best: the limits that a step's time is made of. `python -m bench.limits fork MODULE` is one of them
in a process of its own, since what counts is the size of the process that forks.
"""

import hashlib
import importlib
import json
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.measure import cpu_seconds_below, environment, own_cpu_seconds

_FORKS = 200
_ROUND_TRIPS = 2000
_COMMITS = 300
_ROWS_A_COMMIT = 1000
_HASHED_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds each; forks by the module that the forking process has imported."""

    fork: dict[str, float]
    fork_cpu: dict[str, float]
    round_trip: float
    commit: float
    row: float
    hashed_gibibyte: float
    interpreter: float


def measured_limits(folder: Path, modules: list[str], repeats: int) -> Limits:
    """Medians; `folder` is on the disk that state folders are made on."""
    forks = {module: [_forks_of(module) for _ in range(repeats)] for module in modules}
    return Limits(
        fork={module: statistics.median(wall for wall, _ in found) for module, found in forks.items()},
        fork_cpu={module: statistics.median(cpu for _, cpu in found) for module, found in forks.items()},
        round_trip=_median(repeats, _round_trip),
        commit=_median(repeats, lambda: _commit(folder / "commits.sqlite", _COMMITS, 1)),
        row=_median(repeats, lambda: _commit(folder / "rows.sqlite", 20, _ROWS_A_COMMIT) / _ROWS_A_COMMIT),
        hashed_gibibyte=_median(repeats, _hash),
        interpreter=_median(5 * repeats, lambda: subprocess.run([sys.executable, "-c", "pass"], check=True, env=environment(folder))),
    )


def _median(repeats: int, measure: Callable[[], object]) -> float:
    """Of what `measure` gives, or where it gives no number, of the seconds that it takes."""
    found: list[float] = []
    for _ in range(repeats):
        started = time.perf_counter()
        answer = measure()
        found.append(answer if isinstance(answer, float) else time.perf_counter() - started)
    return statistics.median(found)


def _forks_of(module: str) -> tuple[float, float]:
    command = [sys.executable, "-m", "bench.limits", "fork", module]
    wall, cpu = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment(Path())).stdout)
    return float(wall), float(cpu)


def forks() -> tuple[float, float]:
    """Wall and CPU seconds of one fork, exit and wait; the process has what a zygote has before it forks."""
    wall, cpu = time.perf_counter(), own_cpu_seconds() + cpu_seconds_below()
    for _ in range(_FORKS):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    return (time.perf_counter() - wall) / _FORKS, (own_cpu_seconds() + cpu_seconds_below() - cpu) / _FORKS


def _round_trip() -> float:
    """A byte to another process and back."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        while theirs.recv(1):
            theirs.send(b"x")
        os._exit(0)
    theirs.close()
    started = time.perf_counter()
    for _ in range(_ROUND_TRIPS):
        ours.send(b"x")
        ours.recv(1)
    seconds = time.perf_counter() - started
    ours.close()
    os.waitpid(pid, 0)
    return seconds / _ROUND_TRIPS


def _commit(path: Path, commits: int, rows: int) -> float:
    """One commit that survives a power cut, of `rows` rows of 200 bytes."""
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE t (number INTEGER PRIMARY KEY, data TEXT)"):
        connection.execute(statement)
    started = time.perf_counter()
    for _ in range(commits):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO t (data) VALUES (?)", [("x" * 200,)] * rows)
        connection.execute("COMMIT")
    seconds = time.perf_counter() - started
    connection.close()
    return seconds / commits


def _hash() -> float:
    data = bytes(_HASHED_BYTES)
    started = time.perf_counter()
    hashlib.sha256(data).digest()
    return (time.perf_counter() - started) * 2**30 / _HASHED_BYTES


def main() -> None:
    importlib.import_module("penstock.runners.zygote")
    importlib.import_module(sys.argv[2])
    print(json.dumps(forks()))


if __name__ == "__main__":
    main()
