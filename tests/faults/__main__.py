"""The fault suite at full length: `python -m tests.faults kills --steps 500`, `long-step --minutes 10 --consumer-timeout 60`,
`partition --patience 30`, `events --count 10000`."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from math import ceil
from pathlib import Path

from tests.faults.events import events_with_kills
from tests.faults.kills import in_turn, run_with_kills
from tests.faults.long_step import LongStep, run_long_step
from tests.faults.partition import cut_off_and_reconnected
from tests.faults.trial import trial
from tests.faults.workload import steps_of_mixed


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    kinds = top.add_subparsers(dest="kind", required=True)
    kills = kinds.add_parser("kills", help="kill -9 of everything in turn during one run")
    kills.add_argument("--steps", type=int, default=500)
    kills.add_argument("--rounds", type=int, default=2)
    kills.add_argument("--milliseconds", type=int, default=100, help="so long a step lasts")
    long_step = kinds.add_parser("long-step", help="a step that outlasts the broker's patience and two of its restarts")
    long_step.add_argument("--minutes", type=float, default=10.0)
    long_step.add_argument("--consumer-timeout", type=float, default=60.0, help="in seconds")
    partition = kinds.add_parser("partition", help="a host that is cut off for longer than the patience, and comes back")
    partition.add_argument("--patience", type=float, default=30.0, help="in seconds")
    events = kinds.add_parser("events", help="events while coordinators, broker and database are killed at random")
    events.add_argument("--count", type=int, default=10_000)
    events.add_argument("--seconds", type=float, default=180, help="so long events come in, at least")
    events.add_argument("--seed", type=int, default=1, help="chooses who is killed when")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="penstock-faults-") as folder:
        match asked.kind:
            case "kills":
                _kills(Path(folder), asked.steps, asked.rounds, asked.milliseconds)
            case "long-step":
                run_long_step(Path(folder), LongStep(asked.minutes * 60, asked.consumer_timeout), say)
            case "events":
                _events(Path(folder), asked.count, asked.seed, asked.seconds)
            case _:
                _partition(Path(folder), asked.patience)
    say("every invariant holds")
    return 0


def _kills(folder: Path, steps: int, rounds: int, milliseconds: int) -> None:
    with trial(folder, coordinators=2, runners=[{"cpu": 2}, {"cpu": 2}, {"cpu": 2}]) as started:
        report = run_with_kills(started, max(1, ceil((steps - steps_of_mixed(0)) / 3)), in_turn(started, rounds), milliseconds, say)
    for line in report.lines():
        say(line)


def _events(folder: Path, count: int, seed: int, seconds: float) -> None:
    with trial(folder, coordinators=2, runners=[{"cpu": 4}], has_api=True) as started:
        report = events_with_kills(started, count, say, seed=seed, seconds=seconds)
    for line in report.lines():
        say(line)


def _partition(folder: Path, patience: float) -> None:
    with trial(folder, coordinators=2, runners=[], settings={"PENSTOCK_PATIENCE_SECONDS": str(patience)}) as started:
        for line in cut_off_and_reconnected(started, patience):
            say(line)


if __name__ == "__main__":
    sys.exit(main())
