"""Tries seeds: `python -m tests.simulation --seeds 2000`, one again: `--seed 17 --trace`, with a deliberate bug: `--mutant NAME`."""

import argparse
import functools
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator

from tests.simulation.mutants import MUTANTS
from tests.simulation.trial import Verdict, caught, silence, try_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="print what happens in it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--mutant", choices=["all", *MUTANTS], help="with this deliberate bug, until it is caught")
    asked = parser.parse_args()
    silence()
    if asked.mutant is not None:
        return hunt([*MUTANTS] if asked.mutant == "all" else [asked.mutant], asked.seeds, asked.processes)
    if asked.seed is not None:
        return one(asked.seed, trace=asked.trace)
    return many(range(asked.first, asked.first + asked.seeds), asked.processes)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def one(seed: int, *, trace: bool) -> int:
    verdict = try_seed(seed, keeps_trace=trace)
    for line in verdict.trace:
        say(line)
    show(verdict)
    told = f"{verdict.virtual_seconds:.0f} s, {verdict.executions} executions, {verdict.deaths} deaths, trace {verdict.fingerprint}"
    say(f"seed {seed}: {told}")
    return 1 if verdict.violations else 0


def many(seeds: range, processes: int) -> int:
    began, done, bad, executions, deaths, excused = time.perf_counter(), 0, 0, 0, 0, 0
    for verdict in tried(seeds, processes):
        done += 1
        executions += verdict.executions
        deaths += verdict.deaths
        excused += verdict.excused
        bad += bool(verdict.violations)
        show(verdict)
    seconds = time.perf_counter() - began
    say(
        f"{done} seeds in {seconds:.1f} s ({done / seconds:.1f} a second): {executions} executions, {deaths} deaths, "
        f"{excused} runs failed by their infrastructure, {bad} seeds with violations"
    )
    return 1 if bad else 0


def hunt(names: list[str], seeds: int, processes: int) -> int:
    """Prints which bugs are caught, by which seed."""
    missed = 0
    with multiprocessing.get_context("spawn").Pool(processes, silence) as pool:
        for name, verdict in zip(names, pool.imap(functools.partial(caught, seeds=seeds), names), strict=True):
            missed += verdict is None
            say(f"missed  {name}" if verdict is None else f"caught  {name}: seed {verdict.seed}: {verdict.violations[0][:150]}")
    say(f"{len(names) - missed} of {len(names)} caught")
    return 1 if missed else 0


def tried(seeds: range, processes: int) -> Iterator[Verdict]:
    if processes == 1:
        yield from map(try_seed, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes, silence) as pool:
        yield from pool.imap_unordered(try_seed, seeds, chunksize=4)


def show(verdict: Verdict) -> None:
    for violation in verdict.violations[:5]:
        say(f"seed {verdict.seed}: {violation}")


if __name__ == "__main__":
    sys.exit(main())
