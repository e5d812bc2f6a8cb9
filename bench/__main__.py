"""`python -m bench`: measures limits and cases, and prints one table; `--write` puts it into bench/README.md."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.demo import demo_runs
from bench.limits import Limits, measured_limits
from bench.machine import machine
from bench.measure import Measurement, environment
from bench.peers import peer_rows
from bench.table import Case, comparison, demo_row, limit_rows, rows_of, table
from bench.written import write_results

_MODULES = {"bare": "bench.pipelines_bare", "scientific": "bench.pipelines_scientific"}


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _asked(arguments)
    cores = len(os.sched_getaffinity(0))
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    try:
        _note("limits")
        limits = measured_limits(folder, [_MODULES[name] for name in asked.modules], asked.runs)
        rows: list[tuple[str, ...]] = []
        for module in asked.modules:
            rows += _rows(_cases(module, asked, folder), limits, cores)
        if "demo" in asked.cases:
            _note("demo")
            rows.append(demo_row(demo_runs(folder / "demo", asked.runs)[1:], limits))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    parts = [machine(asked.runs), table(rows), table(limit_rows(limits), ("limit, measured in the same run", "median"))]
    if asked.peers:
        parts.append(table(peer_rows(asked.peers, asked.runs), ("peer", "chain of 100, ms a step", "fan of 1,000, steps/s")))
    text = "\n\n".join(parts)
    print(text)
    if asked.write:
        write_results("results", text)


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--runs", type=int, default=3, help="runs of each case; the table has medians (default: 3)")
    parser.add_argument("--quick", action="store_true", help="10,000 items in place of 100,000")
    parser.add_argument(
        "--cases", nargs="+", default=["chain", "fan", "large", "many", "demo"], choices=["chain", "fan", "large", "many", "demo"]
    )
    parser.add_argument("--modules", nargs="+", default=list(_MODULES), choices=list(_MODULES))
    parser.add_argument("--items", type=int, default=1000, help="items of the small fan-out, a tenth of them runs at once")
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has luigi or dask installed, to measure them too")
    parser.add_argument("--write", action="store_true", help="put the table into bench/README.md")
    return parser.parse_args(arguments)


def _cases(module: str, asked: argparse.Namespace, folder: Path) -> list[Case]:
    sizes = {"chain": 100, "fan": asked.items, "large": 10_000 if asked.quick else 100_000, "many": asked.items // 10}
    cases: list[Case] = []
    starts: list[Measurement] = []
    for name in [name for name in sizes if name in asked.cases]:
        found: dict[str, list[Measurement]] = {}
        for number in range(asked.runs):
            _note(f"{name}, {module}, run {number + 1} of {asked.runs}")
            for measurement in _measured("fan" if name == "large" else name, _MODULES[module], sizes[name], folder / "home"):
                found.setdefault(measurement.name, []).append(measurement)
        starts += found.pop("start")
        for part, runs in found.items():
            cases.append(Case(name=part, module=module, package=_MODULES[module], items=sizes[name], runs=tuple(runs)))
    if not starts:
        return []
    return [Case(name="start", module=module, package=_MODULES[module], items=1, runs=tuple(starts)), *cases]


def _measured(case: str, module: str, items: int, home: Path) -> list[Measurement]:
    """One run of a case in a fresh process, with a state folder of its own."""
    command = [sys.executable, "-m", "bench.cases", case, module, str(items)]
    try:
        done = subprocess.run(command, env=environment(home), check=True, stdout=subprocess.PIPE)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return [Measurement(**plain) for plain in json.loads(done.stdout.splitlines()[-1])]


def _rows(cases: list[Case], limits: Limits, cores: int) -> list[tuple[str, ...]]:
    rows = [row for case in cases for row in rows_of(case, limits, cores)]
    fans = [case for case in cases if case.name == "fan"]
    return [*rows, comparison(*fans)] if len(fans) == 2 else rows  # the small one and the large one


def _note(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
