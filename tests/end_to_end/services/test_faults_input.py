"""What an operator, a stranger or another version puts into the queues, and brokers that are full: nothing is lost, nothing crashes."""

import time
from urllib.parse import quote

import pytest

from penstock.contracts.messages import AttemptKey, Completed, Reports, encode
from penstock.contracts.states import AttemptState
from penstock.engine.orders import Orders
from penstock.transport.bus import INBOX, Exchange, work_queue
from tests.end_to_end.services.conftest import PATIENCE_SECONDS
from tests.faults.invariants import extra_executions, virtual_host
from tests.faults.orders import POISON, of_the_future, packed, send_to_exchange, send_to_queue
from tests.faults.trial import Trial
from tests.faults.workload import lasting, mixed, result_of_mixed
from tests.servers.rabbitmq import RabbitServer

QUEUES = (INBOX, work_queue("default", "cpu"))


def broker_of(trial: Trial) -> RabbitServer:
    broker = trial.cluster.servers["broker"]
    assert isinstance(broker, RabbitServer)
    return broker


def processes(trial: Trial) -> dict[str, int]:
    return {name: service.process_id for name, service in trial.cluster.services.items() if service.is_running}


def test_nonsense_and_messages_of_other_versions_stop_nobody(shared_trial: Trial) -> None:
    url, before = shared_trial.cluster.settings["PENSTOCK_BROKER_URL"], processes(shared_trial)
    journal, items = shared_trial.journal("poison"), list(range(5))

    run = shared_trial.begin(mixed, items=items, journal=str(journal.path), milliseconds=50)
    kinds = ("order", "reports", "heartbeat", "tick", "cancel_attempts", "submit_run", "drain_runner")
    for body in (*POISON.values(), *map(of_the_future, kinds)):
        for queue in QUEUES:
            send_to_queue(url, queue, body)
        for exchange in (Exchange.VITALS, Exchange.CONTROL):
            send_to_exchange(url, exchange, "", body)

    assert shared_trial.wait(run) == "succeeded"
    assert run.result() == result_of_mixed(items)
    assert processes(shared_trial) == before
    assert all(shared_trial.cluster.services[name].is_ready() for name in before)
    logs = {
        kind: "".join(s.log_text() for n, s in shared_trial.cluster.services.items() if n.startswith(kind))
        for kind in ("coordinator", "runner")
    }
    assert "this Penstock reads 1" in logs["coordinator"]
    assert "this Penstock reads 1" in logs["runner"]
    shared_trial.check(run, journal)


def test_an_order_of_a_later_version_is_given_back_and_the_run_tells_why(shared_trial: Trial) -> None:
    cluster, journal = shared_trial.cluster, shared_trial.journal("later")
    run = shared_trial.begin(lasting, label="later", journal=str(journal.path), seconds=2.0)
    # A young step's runner has not said yet that it has it: as far as the engine knows, the order may be anywhere.
    young = "SELECT run_no, node, item, number FROM attempt WHERE state = 'dispatched'"
    shared_trial.until(lambda: cluster.client.rows(young), "the order is sent")
    [[run_no, node, item, number]] = cluster.client.rows(young)
    attempt = AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=number)
    orders = Orders(cluster.settings["PENSTOCK_SIGNING_KEY"].encode())
    payload = {"type": "order", "version": 999, "attempt": attempt.model_dump(), "token": orders.token("default", attempt), "step": ["new"]}

    send_to_queue(cluster.settings["PENSTOCK_BROKER_URL"], QUEUES[1], packed(payload))

    shared_trial.until(
        lambda: "does not understand orders of version 999: upgrade it" in " ".join(shared_trial.told(run)), "the run tells it"
    )
    assert shared_trial.wait(run) == "succeeded"
    assert "(Penstock " in " ".join(shared_trial.told(run))


def test_a_forged_report_changes_nothing(shared_trial: Trial) -> None:
    cluster, journal = shared_trial.cluster, shared_trial.journal("forged")
    run = shared_trial.begin(lasting, label="forged", journal=str(journal.path), seconds=4.0)
    shared_trial.until(lambda: shared_trial.is_held(run, "last_long"), "the step is held")
    [[run_no, node, item, number]] = cluster.client.rows("SELECT run_no, node, item, number FROM attempt WHERE state = 'running'")
    attempt = AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=number)
    forged = Completed(attempt=attempt, token="f0f0", runner="stranger", outcome=AttemptState.FAILED)

    send_to_queue(cluster.settings["PENSTOCK_BROKER_URL"], INBOX, encode(Reports(reports=(forged,))))

    assert shared_trial.wait(run) == "succeeded"
    shared_trial.check(run, journal)
    assert journal.counts() == {"forged": 1}


def test_purged_and_deleted_queues_lose_nothing(shared_trial: Trial) -> None:
    broker, journal, items = broker_of(shared_trial), shared_trial.journal("purged"), list(range(20))
    vhost = quote(virtual_host(shared_trial.cluster), safe="")

    run = shared_trial.begin(mixed, items=items, journal=str(journal.path), milliseconds=100)
    for number, (method, queue) in enumerate((("purge", QUEUES[1]), ("purge", QUEUES[0]), ("delete", QUEUES[1]), ("delete", QUEUES[0])), 1):
        shared_trial.until(lambda wanted=4 * number: len(journal.counts("stop")) >= wanted, "some steps are done")  # type: ignore[misc]
        broker.api("DELETE", f"queues/{vhost}/{queue}" + ("/contents" if method == "purge" else ""))

    assert shared_trial.wait(run) == "succeeded"
    assert run.result() == result_of_mixed(items)
    shared_trial.check(run, journal)


def test_a_full_broker_holds_everybody_up_and_loses_nothing(shared_trial: Trial) -> None:
    broker, journal, held = broker_of(shared_trial), shared_trial.journal("full"), shared_trial.journal("held")
    items = list(range(20))
    lasts = shared_trial.begin(lasting, label="held", journal=str(held.path), seconds=PATIENCE_SECONDS + 6)
    shared_trial.until(lambda: shared_trial.is_held(lasts, "last_long"), "the step is held")
    run = shared_trial.begin(mixed, items=items, journal=str(journal.path), milliseconds=50)

    broker.set_disk_alarm()
    full_at = time.monotonic()
    shared_trial.until(lambda: time.monotonic() - full_at > PATIENCE_SECONDS + 1, "the alarm lasts for longer than the patience")
    assert not shared_trial.cluster.client.run(run.run_id).state.is_terminal
    broker.clear_disk_alarm()
    broker.set_memory_alarm()
    broker.clear_memory_alarm()
    cleared_at = time.monotonic()

    assert shared_trial.wait(run) == "succeeded"
    assert time.monotonic() - cleared_at < 30
    assert shared_trial.wait(lasts) == "succeeded"
    shared_trial.check(run, journal)
    shared_trial.check(lasts, held)
    assert extra_executions(held) == 0


@pytest.mark.parametrize("right", ["write", "read"])
def test_a_runner_that_may_not_do_its_work_says_what_it_may_not(shared_trial: Trial, right: str) -> None:
    """And works as soon as it may."""
    broker, vhost = broker_of(shared_trial), virtual_host(shared_trial.cluster)
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    user = broker.add_user(vhost=vhost, permissions=tuple((rights | {right: "^$"}).values()))  # type: ignore[arg-type]  # three of them
    runner = shared_trial.cluster.add_runner({"cpu": 1}, PENSTOCK_BROKER_URL=broker.url(vhost, user))

    shared_trial.until(lambda: "give the user that permission" in runner.log_text(), "the runner complains", 30)
    assert runner.is_running
    broker.api("PUT", f"permissions/{quote(vhost, safe='')}/{user.name}", rights)
    shared_trial.until(runner.is_ready, "the runner is ready once it may", 60)
    runner.stop()
