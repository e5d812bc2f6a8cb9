"""Many events while coordinators, the broker and the database are killed at random: each of them causes one run, and no more."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from penstock.sdk import OnEvent, pipeline, step
from penstock.sdk.runs.state_home import using_engine
from tests.faults.trial import Trial
from tests.faults.upstream import Upstream

EVENT = "org.example.counted"
DOWN_SECONDS = 1.0
QUIET_SECONDS = (1.0, 6.0)
"""Between two kills."""


@step(isolation="reuse", cache=False)
def note(number: int) -> int:
    return number


@pipeline(triggers=[OnEvent(EVENT, parameters={"number": "event.data.number"})])
def counted(number: int) -> int:
    return note(number)


@dataclass(frozen=True, slots=True)
class EventReport:
    events: int
    messages: int
    kills: dict[str, int]
    seconds: float

    def lines(self) -> list[str]:
        killed = ", ".join(f"{count} × {kind}" for kind, count in sorted(self.kills.items())) or "nothing"
        return [
            f"{self.events} events in {self.messages} confirmed and unconfirmed messages; killed: {killed}",
            f"{self.events} runs, one for each, in {self.seconds:.1f} s",
        ]


def events_with_kills(
    trial: Trial, count: int, say: Callable[[str], None], *, seed: int = 1, seconds: float = 10.0, victims: Sequence[str] | None = None
) -> EventReport:
    """Publishes for so many seconds at least, kills these in turn, or at random meanwhile; waits for the runs, and counts them.

    :raises AssertionError: an event caused no run or several.
    """
    with using_engine(trial.cluster.engine):
        counted.publish(triggers="on")
    upstream = Upstream(trial.cluster.settings["PENSTOCK_BROKER_URL"], EVENT, seed=seed, pause_seconds=seconds / count)
    killed: dict[str, int] = {}
    began = time.monotonic()
    with ThreadPoolExecutor(1) as threads:
        publishing = threads.submit(upstream.publish, range(count))
        try:
            for victim in victims if victims is not None else _at_random(trial, random.Random(seed)):
                if victims is None and publishing.done() and _runs(trial) >= count:
                    break
                _kill(trial, victim, say)
                killed[victim.partition("-")[0]] = killed.get(victim.partition("-")[0], 0) + 1
            publishing.result(600)
        finally:
            upstream.stop()
    trial.cluster.wait_ready()
    last = 0

    def has_ended() -> bool:
        nonlocal last
        if (found := _ended(trial)) - last >= count // 10:
            say(f"{found} of {count} runs have ended")
            last = found
        return found >= count

    trial.until(has_ended, f"{count} runs have ended", 120 + count / 20)
    check(trial, count)
    return EventReport(count, upstream.sent, killed, time.monotonic() - began)


def check(trial: Trial, count: int) -> None:
    """One event a number, one decision an event, one run a number, and each run has its result."""
    assert _number(trial, f"SELECT count(*) FROM event WHERE type = '{EVENT}'") == count  # noqa: S608 - a constant
    assert _number(trial, "SELECT count(*) FROM event WHERE state <> 'done'") == 0
    assert _number(trial, "SELECT count(*) FROM event_conflict") == 0
    assert _number(trial, "SELECT count(*) FROM decision WHERE outcome = 'started'") == count
    assert _number(trial, "SELECT count(DISTINCT run_id) FROM decision WHERE outcome = 'started'") == count
    assert _runs(trial) == count
    assert _number(trial, "SELECT count(*) FROM run WHERE pipeline = 'counted' AND state = 'succeeded'") == count
    assert _number(trial, "SELECT count(DISTINCT params) FROM run WHERE pipeline = 'counted'") == count


def _at_random(trial: Trial, chance: random.Random) -> Iterator[str]:
    coordinators = [name for name in trial.cluster.services if name.startswith("coordinator")]
    while True:
        time.sleep(chance.uniform(*QUIET_SECONDS))
        yield chance.choice([*coordinators, *coordinators, "broker", "database"])


def _kill(trial: Trial, victim: str, say: Callable[[str], None]) -> None:
    trial.cluster.kill(victim)
    time.sleep(DOWN_SECONDS if victim.startswith("coordinator") else 0.0)
    trial.cluster.named(victim).launch()
    trial.cluster.wait_ready(victim)
    say(f"{victim} killed, {_runs(trial)} runs so far")


def _runs(trial: Trial) -> int:
    return _number(trial, "SELECT count(*) FROM run WHERE pipeline = 'counted'")


def _ended(trial: Trial) -> int:
    return _number(trial, "SELECT count(*) FROM run WHERE pipeline = 'counted' AND ended_at IS NOT NULL")


def _number(trial: Trial, sql: str) -> int:
    return int(trial.patiently(lambda: trial.cluster.client.rows(sql))[0][0])
