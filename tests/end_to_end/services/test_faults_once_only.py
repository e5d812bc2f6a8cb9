"""A step that may not run twice doesn't, however often its order is delivered and whoever dies."""

from penstock.contracts.states import RunState
from penstock.transport.bus import work_queue
from tests.faults.invariants import virtual_host
from tests.faults.orders import provoke_redeliveries, send_to_queue
from tests.faults.trial import Trial
from tests.faults.workload import delicate
from tests.servers.rabbitmq import RabbitServer

QUEUE = work_queue("default", "cpu")
RUNNERS = ("runner-1", "runner-2")
BEFORE, WHILE, AFTER = 16, 10, 24
"""Redeliveries. Of those before it runs the broker bears twenty: then it takes a message for poison."""


def test_fifty_redeliveries_run_it_once(shared_trial: Trial) -> None:
    cluster, journal = shared_trial.cluster, shared_trial.journal("fifty")
    url, broker = cluster.settings["PENSTOCK_BROKER_URL"], cluster.servers["broker"]
    assert isinstance(broker, RabbitServer)
    # Killed, they are still counted on: the order is given out, and nobody takes it.
    for name in RUNNERS:
        cluster.kill(name)

    run = shared_trial.begin(delicate, label="fifty", journal=str(journal.path), seconds=5.0)
    order = provoke_redeliveries(url, QUEUE, BEFORE)
    for name in RUNNERS:
        cluster.named(name).launch()
    shared_trial.until(lambda: journal.is_running("fifty"), "the step runs")
    for _ in range(WHILE // 5):
        send_to_queue(url, QUEUE, order, 4)
        broker.close_all_connections(vhost=virtual_host(cluster))
    state = shared_trial.wait(run)
    send_to_queue(url, QUEUE, order, AFTER)

    assert BEFORE + WHILE + AFTER == 50
    assert state == "succeeded"
    shared_trial.check(run, journal)
    assert journal.counts() == {"fifty": 1}


def test_its_runner_is_killed_and_comes_back_under_the_same_name(shared_trial: Trial) -> None:
    cluster, journal = shared_trial.cluster, shared_trial.journal("killed")
    cluster.stop("runner-2")

    run = shared_trial.begin(delicate, label="killed", journal=str(journal.path), seconds=1.5)
    shared_trial.until(lambda: journal.is_running("killed"), "the step runs")
    cluster.kill("runner-1")
    cluster.start("runner-1")
    state = shared_trial.wait(run)
    cluster.start("runner-2")

    assert journal.counts() == {"killed": 1}
    assert state == RunState.FAILED.value
    [step_run] = cluster.client.step_runs(run.run_id)
    assert step_run.failure is not None
    assert "may not run twice" in step_run.failure.message
