"""A step that may not run twice doesn't, however often its order is delivered and whoever dies."""

from penstock.contracts.states import RunState
from penstock.transport.bus import work_queue
from tests.faults.invariants import virtual_host
from tests.faults.orders import provoke_redeliveries, send_to_queue
from tests.faults.trial import Trial
from tests.faults.workload import delicate

QUEUE = work_queue("default", "cpu")
DELIVERIES = 25


def test_fifty_redeliveries_run_it_once(shared_trial: Trial) -> None:
    cluster, journal = shared_trial.cluster, shared_trial.journal("fifty")
    url, broker = cluster.settings["PENSTOCK_BROKER_URL"], cluster.servers["broker"]
    for name in ("runner-1", "runner-2"):
        cluster.stop(name)

    run = shared_trial.begin(delicate, label="fifty", journal=str(journal.path), seconds=5.0)
    order = provoke_redeliveries(url, QUEUE, DELIVERIES)
    for name in ("runner-1", "runner-2"):
        cluster.named(name).launch()
    shared_trial.until(lambda: journal.is_running("fifty"), "the step runs")
    send_to_queue(url, QUEUE, order, 10)
    for _ in range(3):
        broker.close_all_connections(vhost=virtual_host(cluster))  # type: ignore[attr-defined]
        send_to_queue(url, QUEUE, order, 4)
    state = shared_trial.wait(run)
    send_to_queue(url, QUEUE, order, 10)

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
