"""kill -9 of coordinators, runners, the broker and the database, in turn, while a run goes on; and how long each took to be got over."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from typing_extensions import override

from penstock.sdk.runs.run import Run
from tests.faults.invariants import ALL_STEP_RUNS, causes, extra_executions, losses
from tests.faults.trial import Trial
from tests.faults.witness import START, STOP, Journal
from tests.faults.workload import mixed, result_of_mixed, steps_of_mixed

DOWN_SECONDS = {"coordinator": 1.0, "runner": 1.0, "broker": 0.0, "database": 0.0}
"""How long a killed one stays away before it is started again."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Times in microseconds since 1970."""

    victims: tuple[str, ...]
    at: int
    serves: "Future[float]"
    """The seconds until the last of them served again."""


@dataclass(frozen=True, slots=True)
class Recovery:
    kill: Kill
    ready_seconds: float
    """From the kill until all of them served again."""
    next_seconds: float
    """From the kill to the next committed completion."""
    pause_seconds: float
    """The longest time without a committed completion that began before the next kill."""

    @override
    def __str__(self) -> str:
        name = " and ".join(self.kill.victims)
        after = f"next completion after {self.next_seconds:5.2f} s, longest pause {self.pause_seconds:5.2f} s"
        return f"kill -9 {name:<28} serves again after {self.ready_seconds:5.2f} s, {after}"


@dataclass(frozen=True, slots=True)
class Report:
    steps: int
    seconds: float
    recoveries: list[Recovery]
    executions: int
    extra: int
    losses: dict[str, int]
    causes: dict[str, int]

    def lines(self) -> list[str]:
        told = [f"{count:4} × {cause}" for cause, count in sorted(self.causes.items())]
        return [
            *map(str, self.recoveries),
            f"{self.steps} steps in {self.seconds:.1f} s, {len(self.recoveries)} kills: every output committed once",
            f"{self.executions} executions, {self.extra} more than without kills; attempts recorded as lost: {dict(self.losses)}",
            *told,
        ]


def in_turn(trial: Trial, rounds: int = 1) -> list[tuple[str, ...]]:
    """Who is killed: one of each kind after the other, a different coordinator and runner in each round; from the second round on,
    all coordinators and all runners at once, too."""
    coordinators = [name for name in trial.cluster.services if name.startswith("coordinator")]
    runners = [name for name in trial.cluster.services if name.startswith("runner")]
    victims: list[tuple[str, ...]] = []
    for number in range(rounds):
        victims += [
            (coordinators[number % len(coordinators)],),
            (runners[number % len(runners)],),
            ("broker",),
            ("database",),
        ]
        if number:
            victims += [tuple(coordinators), tuple(runners)]
    return victims


def run_with_kills(trial: Trial, items: int, victims: Sequence[tuple[str, ...]], milliseconds: int, say: Callable[[str], None]) -> Report:
    """Runs the mixture, kills, waits, and checks every invariant.

    :raises AssertionError: one does not hold.
    """
    journal = trial.journal("kills")
    parameters: dict[str, Any] = {"items": list(range(items)), "journal": str(journal.path), "milliseconds": milliseconds}
    steps = steps_of_mixed(items)
    began = time.monotonic()
    run = trial.begin(mixed, **parameters)
    kills: list[Kill] = []
    with ThreadPoolExecutor(len(victims)) as watcher:
        for number, names in enumerate(victims, 1):
            _progress(trial, journal, run, steps * number // (len(victims) + 1))
            kills.append(_kill(trial, names, watcher))
            assert len(journal.counts(STOP)) < steps, f"the run was over before {names} was killed"
            trial.until(lambda: trial.completions()[-1] > kills[-1].at, f"a step is completed after the kill of {names}")
            if names[0] in trial.cluster.servers:
                kills[-1].serves.result(120)
            say(f"{' and '.join(names)} killed, {len(journal.counts(STOP))} of {steps} steps done")
    state = trial.wait(run)
    seconds = time.monotonic() - began
    assert state == "succeeded", state
    trial.cluster.wait_ready()
    assert run.result() == result_of_mixed(range(items)), "the result is not that of a run without kills"
    trial.check(run, journal)
    trial.check_again(mixed, journal, **parameters)
    return _report(trial, run, journal, kills, steps, seconds)


def _progress(trial: Trial, journal: Journal, run: Run[Any], wanted: int) -> None:
    def reached() -> bool:
        return len(journal.counts(START)) >= wanted or trial.patiently(lambda: trial.cluster.client.run(run.run_id)).state.is_terminal

    trial.until(reached, f"{wanted} steps have begun")


def _kill(trial: Trial, names: tuple[str, ...], watcher: ThreadPoolExecutor) -> Kill:
    """Kills them, and starts them again without waiting for them to be ready."""
    at, began = time.time_ns() // 1000, time.monotonic()
    for name in names:
        trial.cluster.kill(name)
    time.sleep(DOWN_SECONDS[names[0].partition("-")[0]])
    for name in names:
        trial.cluster.named(name).launch()

    def serves() -> float:
        trial.cluster.wait_ready(*names)
        return time.monotonic() - began

    return Kill(names, at, watcher.submit(serves))


def _report(trial: Trial, run: Run[Any], journal: Journal, kills: list[Kill], steps: int, seconds: float) -> Report:
    views = trial.cluster.client.step_runs(run.run_id, limit=ALL_STEP_RUNS)
    completions = trial.completions()
    ends = [*(kill.at for kill in kills[1:]), completions[-1] + 1]
    return Report(
        steps=steps,
        seconds=seconds,
        recoveries=[_recovery(kill, end, completions) for kill, end in zip(kills, ends, strict=True)],
        executions=journal.counts(START).total(),
        extra=extra_executions(journal),
        losses=dict(losses(views)),
        causes=dict(causes(trial.cluster, run.run_id)),
    )


def _recovery(kill: Kill, end: int, completions: list[int]) -> Recovery:
    after = [at for at in completions if at > kill.at]
    times = [kill.at, *after]
    pauses = [min(later, end) - earlier for earlier, later in pairwise(times) if earlier < end]
    return Recovery(kill, kill.serves.result(), (after[0] - kill.at) / 1e6, max(pauses) / 1e6)
