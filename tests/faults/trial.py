"""A trial: a cluster, a journal and runs, watched through the failures of everything that they stand on."""

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from penstock.contracts.errors import PenstockError
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.topology import apply_topology
from penstock.sdk.pipelines import Pipeline
from penstock.sdk.runs.run import Run
from penstock.transport.buses.rabbitmq.topology import topology
from tests.faults.invariants import check
from tests.faults.witness import Journal
from tests.servers.cluster import Cluster

T = TypeVar("T")
STUCK_SECONDS = 120.0
"""A run that needs longer is stuck."""


class Trial:
    """`journals` are made in `folder`: one a run, so that runs can't be taken for each other."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self._folder = folder

    def journal(self, name: str) -> Journal:
        return Journal(self._folder / f"{name}.jsonl")

    def begin(self, pipeline: Pipeline[..., Any], /, **parameters: Any) -> Run[Any]:
        return self.cluster.submit(pipeline, **parameters)

    def patiently(self, ask: Callable[[], T], seconds: float = STUCK_SECONDS) -> T:
        """The answer, asked again while the broker or the database is away."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return ask()
            except (PenstockError, OSError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def wait(self, run: Run[Any], seconds: float = STUCK_SECONDS) -> str:
        """The state in which the run has ended.

        :raises TimeoutError: it is stuck.
        """
        ended = self.cluster.client
        self.cluster.until(
            lambda: self.patiently(lambda: ended.run(run.run_id)).state.is_terminal, f"the run {run.run_id} has ended", seconds
        )
        return ended.run(run.run_id).state.value

    def until(self, condition: Callable[[], object], what: str, seconds: float = STUCK_SECONDS) -> None:
        self.cluster.until(lambda: bool(condition()), what, seconds)

    def completions(self) -> list[int]:
        """When successes were committed, in microseconds since 1970."""
        rows = self.patiently(lambda: self.cluster.client.rows("SELECT ended_at FROM attempt WHERE state = 'succeeded' ORDER BY ended_at"))
        return [row[0] for row in rows]

    def attempts(self, run: Run[Any], step: str) -> list[str]:
        """The states of a step's attempts, in order."""
        return [attempt.state for view in self.cluster.client.step_runs(run.run_id, step) for attempt in view.attempts]

    def is_held(self, run: Run[Any], step: str) -> bool:
        """Whether a runner has said that it executes the step, which is older than a few seconds by then."""
        return self.attempts(run, step)[-1:] == ["running"]

    def told(self, run: Run[Any]) -> list[str]:
        """What the run's timeline says of its attempts."""
        rows = self.cluster.client.rows(
            f"SELECT t.type, t.data FROM timeline t JOIN run r ON r.run_no = t.run_no WHERE r.run_id = '{run.run_id}' ORDER BY t.seq"  # noqa: S608
        )
        return [f"{kind} {data or ''}" for kind, data in rows]

    def check(self, run: Run[Any], journal: Journal, *, poison: int = 0) -> None:
        """All invariants."""
        check(self.cluster, run, journal, poison=poison)

    def check_again(self, pipeline: Pipeline[..., Any], witness: Journal, /, **parameters: Any) -> None:
        """The same run again: every step run is a hit, and nothing is executed."""
        before = witness.counts()
        run = self.cluster.run(pipeline, **parameters)
        assert run.state.value == "succeeded", run.state
        assert all(step_run.is_hit for several in run.steps.values() for step_run in several), "not everything was a hit"
        assert witness.counts() == before, "a hit was executed"


@contextmanager
def trial(folder: Path, **cluster: Any) -> Generator[Trial]:
    """A cluster on a broker with all its policies, as an operator sets it up."""
    with Cluster(folder, **cluster) as started:
        pools = {("default", pool) for service in started.services.values() for pool in _pools(service.command())}
        settings = ServiceSettings(
            broker_url=SecretStr(started.settings["PENSTOCK_BROKER_URL"]),
            broker_management_url=SecretStr(started.settings["PENSTOCK_BROKER_MANAGEMENT_URL"]),
        )
        asyncio.run(apply_topology(settings, topology(sorted(pools)), lambda _: None))
        yield Trial(started, folder)


def _pools(command: list[str]) -> list[str]:
    return [after.partition("=")[0] for word, after in pairwise(command) if word == "--pool"]
