"""Two hosts; one is cut off for longer than the patience while it works, and comes back with results that nobody waits for any more."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from penstock.sdk.runs.run import Run
from tests.faults.network import Host, HostedService
from tests.faults.trial import Trial
from tests.faults.witness import STOP
from tests.faults.workload import FAR, two_fates
from tests.servers.rabbitmq import RabbitServer


@contextmanager
def hosted_runner(trial: Trial, number: int) -> Generator[tuple[Host, HostedService]]:
    """A host with a runner of the pool `far` on it, not started yet."""
    broker = trial.cluster.servers["broker"]
    assert isinstance(broker, RabbitServer)
    with Host(number) as host:
        parts = urlsplit(trial.cluster.settings["PENSTOCK_BROKER_URL"])
        address = f"{host.gateway}:{host.listen(broker)}"
        url = parts._replace(netloc=f"{parts.username}:{parts.password}@{address}").geturl()
        settings = {**trial.cluster.settings, "PENSTOCK_BROKER_URL": url}
        service = HostedService(host, f"far-{number}", ["runner", "--pool", f"{FAR}=2"], settings)
        trial.cluster.services[service.name] = service
        try:
            yield host, service
        finally:
            del trial.cluster.services[service.name]
            service.close()


def cut_off_and_reconnected(trial: Trial, patience: float) -> list[str]:
    """A runner with two steps is cut off. One step's work goes elsewhere and is done there; the other one's goes elsewhere, lasts there,
    and the result of the runner that came back is adopted. Returns what the run says of it.

    :raises AssertionError: an output was committed twice, or the run does not tell.
    """
    journal, gate = trial.journal("partition"), trial.journal("partition").path.with_suffix(".gate")
    with hosted_runner(trial, 1) as (host, first), hosted_runner(trial, 2) as (_, second):
        first.launch()
        run = trial.begin(two_fates, journal=str(journal.path), gate=str(gate), later_seconds=600.0)
        trial.until(lambda: _held(trial, "far-1") == 2, "the first host works")
        second.launch()
        host.cut()
        cut_at = time.monotonic()
        gate.touch()
        trial.until(lambda: journal.counts(STOP) == {"elsewhere": 2, "adopted": 1}, "both hosts have executed it", patience + 120)
        trial.until(lambda: _fates(trial, run, "elsewhere") == ("lost", "succeeded"), "the other host has done it")
        trial.until(lambda: _fates(trial, run, "adopted") == ("lost", "running"), "the other host is at it")
        trial.until(lambda: time.monotonic() - cut_at > patience + 1, "it was away for longer than the patience", patience + 60)
        host.heal()
        assert trial.wait(run) == "succeeded"
        assert _fates(trial, run, "elsewhere") == ("lost", "succeeded"), "what the first host had done was not waited for"
        assert _fates(trial, run, "adopted") == ("succeeded", "superseded"), "the first host's result was adopted"
        trial.check(run, journal)
        return [line for line in trial.told(run) if line.startswith("attempt.")]


def _fates(trial: Trial, run: Run[Any], step: str) -> tuple[str, ...]:
    """What became of the last attempt of each host. Where the machine is busy, an order may have been sent twice before."""
    attempts = [attempt for view in trial.cluster.client.step_runs(run.run_id, step) for attempt in view.attempts]
    by_host = {attempt.runner: attempt.state for attempt in attempts}
    return tuple(by_host.get(host, "none") for host in ("far-1", "far-2"))


def _held(trial: Trial, runner: str) -> int:
    [[count]] = trial.cluster.client.rows(f"SELECT count(*) FROM attempt WHERE state = 'running' AND runner = '{runner}'")  # noqa: S608
    return int(count)
