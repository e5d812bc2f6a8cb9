"""Whoever is silent for too long and comes back can't commit twice: runners that are cut off or paused, coordinators that are paused."""

import time

import pytest

from tests.end_to_end.services.conftest import PATIENCE_SECONDS
from tests.faults.network import IS_OPTIONAL
from tests.faults.partition import cut_off_and_reconnected
from tests.faults.trial import Trial
from tests.faults.workload import lasting, mixed, result_of_mixed, two_lengths
from tests.servers.process import ServerNotStarted

pytestmark = pytest.mark.timeout(400)
"""A machine with other work takes its time to start clusters."""


def test_a_host_that_was_cut_off_and_reconnected_commits_nothing_twice(shared_trial: Trial) -> None:
    try:
        told = cut_off_and_reconnected(shared_trial, PATIENCE_SECONDS)
    except ServerNotStarted as error:
        if not IS_OPTIONAL:
            raise
        pytest.skip(str(error))

    assert sum("its runner is gone" in line for line in told) >= 2
    assert sum(line.startswith("attempt.adopted") for line in told) == 1


def test_a_runner_that_was_paused_for_too_long_commits_nothing_twice(shared_trial: Trial) -> None:
    cluster, journal = shared_trial.cluster, shared_trial.journal("paused")
    run = shared_trial.begin(two_lengths, label="paused", journal=str(journal.path), first_seconds=6.0, later_seconds=0.1)
    shared_trial.until(lambda: shared_trial.is_held(run, "uneven"), "the step is held")
    [[name]] = cluster.client.rows("SELECT runner FROM attempt WHERE state = 'running'")

    cluster.pause(name)
    state = shared_trial.wait(run)
    cluster.resume(name)

    assert state == "succeeded"
    shared_trial.until(lambda: journal.counts("stop")["paused"] == 2, "both executions have ended")
    shared_trial.check(run, journal)
    assert shared_trial.attempts(run, "uneven")[-2:] == ["lost", "succeeded"]


def test_paused_coordinators_take_nobody_for_dead(shared_trial: Trial) -> None:
    cluster, journal = shared_trial.cluster, shared_trial.journal("deaf")
    run = shared_trial.begin(lasting, label="deaf", journal=str(journal.path), seconds=PATIENCE_SECONDS + 5)
    shared_trial.until(lambda: shared_trial.is_held(run, "last_long"), "the step is held")
    several = shared_trial.journal("several")
    items = list(range(12))
    busy = shared_trial.begin(mixed, items=items, journal=str(several.path))

    for name in ("coordinator-1", "coordinator-2"):
        cluster.pause(name)
    paused_at = time.monotonic()
    shared_trial.until(lambda: time.monotonic() - paused_at > PATIENCE_SECONDS + 2, "the patience is over")
    for name in ("coordinator-2", "coordinator-1"):
        cluster.resume(name)

    assert shared_trial.wait(run) == "succeeded"
    assert shared_trial.wait(busy) == "succeeded"
    assert busy.result() == result_of_mixed(items)
    shared_trial.check(run, journal)
    shared_trial.check(busy, several)
    assert journal.counts() == {"deaf": 1}
