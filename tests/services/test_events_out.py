"""What happens to runs is heard of outside: by any AMQP client on `penstock.events`, and by webhook; killed services lose none of it."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from penstock.contracts.states import RunState
from penstock.contracts.subscriptions import SubscriptionRequest
from penstock.deploy.areas.subscriptions import Subscriptions
from penstock.deploy.remote.client import HttpClient
from penstock.sdk.pipelines import Pipeline
from tests.deploy.processes import penstock, started
from tests.engine.webhook_receiver import WebhookReceiver, verified
from tests.servers.cluster import Cluster
from tests.servers.process import free_port

TELLING = """
    from penstock.sdk import current_run, pipeline, step

    @step(cache=False)
    def train(n: int) -> int:
        current_run().emit("model.trained", {"rows": n})
        return n

    @pipeline
    def flow(n: int = 3) -> int:
        return train(n)
"""
PATIENCE_SECONDS = 30.0

Message = tuple[str, str | None, dict[str, Any]]
"""Routing key, content type and the event."""


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as one:
        yield one


@pytest.fixture
def subscriptions(cluster: Cluster) -> Iterator[Subscriptions]:
    assert isinstance(cluster.engine, HttpClient)
    found = Subscriptions(cluster.engine.connection)
    yield found
    for one in found.list():
        found.remove(one.name)


class ForeignClient:
    """A program that knows AMQP, and nothing of Penstock: it binds a queue of its own."""

    def __init__(self, url: str, *bindings: str) -> None:
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.queue = str(self.channel.queue_declare("", exclusive=True).method.queue)
        for binding in bindings:
            self.channel.queue_bind(self.queue, "penstock.events", binding)

    def take(self, count: int) -> list[Message]:
        found: list[Message] = []
        for method, properties, body in self.channel.consume(self.queue, auto_ack=True, inactivity_timeout=PATIENCE_SECONDS):
            if method is None or properties is None or body is None:
                break
            found.append((str(method.routing_key), properties.content_type, json.loads(body)))
            if len(found) == count:
                break
        self.channel.cancel()
        return found


def test_any_client_of_the_broker_hears_of_runs_and_of_what_steps_emit(
    cluster: Cluster, subscriptions: Subscriptions, written: Callable[[str], Pipeline[..., object]]
) -> None:
    made = cluster.command("subscriptions", "create", "lake", "--bus", "--type", "penstock.*", "--type", "model.*")
    foreign = ForeignClient(cluster.settings["PENSTOCK_BROKER_URL"], "run.succeeded.#", "event.flow.#", "step.#")
    try:
        run = cluster.run(written(TELLING), n=5)
        heard = foreign.take(3)
    finally:
        foreign.connection.close()

    assert "penstock.events" in made
    assert run.state is RunState.SUCCEEDED
    by_key = {key: event for key, _, event in heard}
    assert set(by_key) == {"run.succeeded.flow", "event.flow.model.trained", "step.succeeded.flow.train"}
    assert {kind for _, kind, _ in heard} == {"application/cloudevents+json; charset=utf-8"}
    end = by_key["run.succeeded.flow"]
    assert (end["specversion"], end["type"], end["source"]) == ("1.0", "penstock.run.succeeded", "/penstock/default")
    assert end["data"]["run_id"] == run.run_id
    assert end["data"]["outputs"]["result"]["digest"].startswith("sha256:")
    emitted = by_key["event.flow.model.trained"]
    assert emitted["data"] == {"rows": 5}
    assert emitted["causationid"] == run.run_id
    assert [one.name for one in subscriptions.list()] == ["lake"]


def test_a_webhook_hears_of_every_run_though_its_coordinators_are_killed(
    cluster: Cluster, subscriptions: Subscriptions, written: Callable[[str], Pipeline[..., object]], receiver: WebhookReceiver
) -> None:
    request = SubscriptionRequest(name="alerts", kind="webhook", url=receiver.url(), types=("penstock.run.succeeded",), pipeline="flow")
    secret = subscriptions.create(request).secret
    pipeline = written(TELLING)

    runs = [cluster.submit(pipeline, n=n) for n in range(6)]
    for name in ("coordinator-1", "coordinator-2"):
        cluster.kill(name)
        cluster.start(name)
    ended = [run.wait().run_id for run in runs]
    # What one of them had in hand is delivered by another once the lease is over.
    receiver.wait(len(runs), 90.0)
    cluster.until(lambda: {one.data_run_id for one in map(Told, receiver.received)} == set(ended), "every run is told of", 90.0)

    assert secret is not None
    assert all(verified(secret, came.headers, came.body) for came in receiver.received)
    ids = {came.message_id: json.loads(came.body)["id"] for came in receiver.received}
    assert len(ids) == len(set(ids.values())) == 6, "whoever is told twice can tell by the id"


class Told:
    def __init__(self, came: Any) -> None:
        self.data_run_id = json.loads(came.body)["data"]["run_id"]


def test_a_laptop_sends_webhooks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: WebhookReceiver) -> None:
    (tmp_path / "pipeline.py").write_text("\n".join(line[4:] for line in TELLING.splitlines()))
    monkeypatch.setenv("PENSTOCK_WEBHOOK_ALLOW", "127.0.0.1")
    refused = penstock(tmp_path, "subscriptions", "create", "far", "--url", "http://10.0.0.1/hook")
    url = receiver.url()
    created = penstock(tmp_path, "subscriptions", "create", "near", "--url", url, "--type", "penstock.run.*", "--json")
    beside = penstock(tmp_path, "run", "pipeline.py")
    with started(tmp_path, "dev", "--port", str(port := free_port())) as dev:
        try:
            assert dev.stdout is not None
            token = next(line.split()[1] for line in dev.stdout if line.startswith("token"))
            monkeypatch.setenv("PENSTOCK_API_URL", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("PENSTOCK_API_TOKEN", token)
            followed = penstock(tmp_path, "submit", "pipeline.py", "--follow")
            came = receiver.wait(4)
            listed = penstock(tmp_path, "subscriptions", "ls")
            delivered = penstock(tmp_path, "subscriptions", "deliveries", "near", "--state", "delivered")
            dev.send_signal(signal.SIGINT)
            dev.wait(30)
        finally:
            dev.kill()

    assert refused.returncode == 2
    assert "PENSTOCK_WEBHOOK_ALLOW" in refused.stderr
    assert created.returncode == 0, created.stderr
    assert followed.returncode == 0, followed.stderr + followed.stdout
    assert beside.returncode == 0, beside.stderr
    secret = json.loads(created.stdout)["secret"]
    assert all(verified(secret, one.headers, one.body) for one in came)
    subjects = [(json.loads(one.body)["subject"], json.loads(one.body)["type"]) for one in came]
    assert set(subjects) == {(f"flow-{n}", f"penstock.run.{what}") for n in (1, 2) for what in ("started", "succeeded")}
    assert "near" in listed.stdout
    assert delivered.stdout.count("204") == 4
