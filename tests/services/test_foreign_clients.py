"""Programs that know nothing of Penstock start runs: over AMQP from Python and from C, and over HTTP. Their user may do nothing else."""

import json
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pika
import pika.exceptions
import pytest

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.event_views import EventView
from penstock.contracts.states import RunState
from penstock.deploy.areas.events import Events
from penstock.deploy.remote.client import HttpClient
from tests.docs.test_asyncapi import MESSAGES
from tests.servers.cluster import Cluster
from tests.servers.rabbitmq import RabbitServer

FLOW = """
    from penstock.sdk import OnEvent, pipeline, step

    @step(cache=False)
    def count(rows: int) -> int:
        return rows + 1

    @pipeline(triggers=[OnEvent("upstream.*", where="has(event.data.rows)", parameters={"rows": "event.data.rows"})])
    def foreign(rows: int) -> int:
        return count(rows)
"""


@dataclass(frozen=True)
class Upstream:
    """A user of the broker for systems that send events of a workspace, and what became of what it sent."""

    url: str
    events: Events
    engine: HttpClient
    cluster: Cluster

    def outcome(self, identity: str) -> tuple[EventView, Any]:
        """The event of that id once it is decided, and the result of the run that it started."""
        self.cluster.until(lambda: self._decided(identity) is not None, f"the event {identity} is decided", 30.0)
        event = self._decided(identity)
        assert event is not None
        (decision,) = (one for one in event.decisions if one.trigger == "foreign")
        assert decision.run_id is not None, decision
        run_id = decision.run_id
        self.cluster.until(lambda: self.engine.run(run_id).state.is_terminal, "its run ends", 60.0)
        run = self.engine.run(run_id)
        assert run.state is RunState.SUCCEEDED
        result = run.outputs["result"]
        assert isinstance(result, ArtifactRef)
        return self.events.show(event.event_no), result.json_value()

    def _decided(self, identity: str) -> EventView | None:
        return next((one for one in self.events.list(kind="upstream.*", state="done") if one.id == identity), None)


@pytest.fixture
def upstream(cluster: Cluster, tmp_path: Path) -> Iterator[Upstream]:
    assert isinstance(cluster.engine, HttpClient)
    (tmp_path / "foreign.py").write_text(textwrap.dedent(FLOW))
    cluster.command("publish", str(tmp_path / "foreign.py"), "--triggers", "on")
    broker = cluster.servers["broker"]
    assert isinstance(broker, RabbitServer)
    virtual_host = unquote(urlsplit(cluster.settings["PENSTOCK_BROKER_URL"]).path[1:])
    user = broker.add_user(vhost=virtual_host)
    granted = cluster.command(
        "topology", "permissions", "--user", user.name, "--kind", "upstream", "--workspace", "default", "--apply",
        "--broker-management-url", broker.management_url(), "--vhost", virtual_host,
    )  # fmt: skip
    assert "upstream" in granted
    yield Upstream(broker.url(virtual_host, user), Events(cluster.engine.connection), cluster.engine, cluster)
    broker.api("DELETE", f"users/{user.name}")


def structured(identity: str, rows: int) -> dict[str, Any]:
    return {"specversion": "1.0", "id": identity, "source": "/upstream", "type": "upstream.ready", "data": {"rows": rows}}


def test_pika_starts_a_run_with_a_binary_event_and_hears_that_it_is_safe(upstream: Upstream) -> None:
    headers = {"specversion": "1.0", "id": "pika-1", "source": "/upstream", "type": "upstream.ready", "time": "2026-03-01T06:30:00Z"}
    properties = pika.BasicProperties(
        content_type="application/json",
        headers={f"cloudEvents:{name}": value for name, value in headers.items()},
        delivery_mode=2,
        user_id=urlsplit(upstream.url).username,
    )
    connection = pika.BlockingConnection(pika.URLParameters(upstream.url))
    channel = connection.channel()
    channel.confirm_delivery()

    for _ in range(2):
        channel.basic_publish("penstock.ingest", "default.upstream", b'{"rows": 41}', properties, mandatory=True)
    connection.close()
    event, result = upstream.outcome("pika-1")

    assert result == 42
    assert (event.via, event.sender, event.time) == ("amqp", urlsplit(upstream.url).username, "2026-03-01T06:30:00Z")
    assert len(event.decisions) == 1, "the same event twice is one cause"


def test_a_program_in_c_starts_a_run_with_a_structured_event(upstream: Upstream) -> None:
    program = shutil.which("amqp-publish")
    assert program is not None, "amqp-publish is missing: apt-get install amqp-tools"
    body = json.dumps(structured("c-1", 6))

    subprocess.run(
        [
            program,
            "-u",
            upstream.url,
            "-e",
            "penstock.ingest",
            "-r",
            "default.upstream",
            "-p",
            "-C",
            "application/cloudevents+json",
            "-b",
            body,
        ],
        check=True,
        timeout=30,
    )

    assert upstream.outcome("c-1")[1] == 7


def test_a_program_in_c_starts_a_run_with_headers_of_the_other_prefix(upstream: Upstream) -> None:
    program = shutil.which("amqp-publish")
    assert program is not None, "amqp-publish is missing: apt-get install amqp-tools"
    told = {"specversion": "1.0", "id": "c-2", "source": "/upstream", "type": "upstream.ready"}
    headers = [part for name, value in told.items() for part in ("-H", f"cloudEvents_{name}: {value}")]

    subprocess.run(
        [
            program,
            "-u",
            upstream.url,
            "-e",
            "penstock.ingest",
            "-r",
            "default.upstream",
            *headers,
            "-C",
            "application/json",
            "-b",
            '{"rows": 1}',
        ],
        check=True,
        timeout=30,
    )

    assert upstream.outcome("c-2")[1] == 2


def test_curl_starts_a_run(upstream: Upstream) -> None:
    program = shutil.which("curl")
    assert program is not None, "curl is missing: apt-get install curl"
    settings = upstream.cluster.settings
    token, url = f"Authorization: Bearer {settings['PENSTOCK_API_TOKEN']}", f"{settings['PENSTOCK_API_URL']}/v1/events"
    sent = [program, "--silent", "--show-error", "--fail", "--include", "-H", token, "-H", "Content-Type: application/cloudevents+json"]

    answer = subprocess.run(
        [*sent, "-d", json.dumps(structured("curl-1", 10)), url], check=True, timeout=30, capture_output=True, text=True
    ).stdout
    event, result = upstream.outcome("curl-1")

    assert result == 11
    assert answer.splitlines()[0].split()[1] == "202"
    assert f"location: /v1/events/{event.event_no}" in answer.lower()


def test_what_the_asyncapi_document_shows_is_kept(upstream: Upstream) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(upstream.url))
    channel = connection.channel()
    channel.confirm_delivery()
    for message in MESSAGES.values():
        for example in message["examples"]:
            properties = pika.BasicProperties(content_type=message["contentType"], headers=example.get("headers"), delivery_mode=2)
            channel.basic_publish("penstock.ingest", "default.shown", json.dumps(example["payload"]).encode(), properties, mandatory=True)
    connection.close()

    wanted = {"day-2026-03-01", "17", "a", "b", "order-17"}
    upstream.cluster.until(lambda: wanted <= {one.id for one in upstream.events.list()}, "every example is kept", 30.0)
    objects = list(upstream.events.list(kind="com.amazonaws.s3.*"))
    assert [one.subject for one in objects] == ["daily/2026-03-01.csv"]


@pytest.mark.parametrize(
    ("exchange", "key"),
    [("penstock.ingest", "other.upstream"), ("penstock.reports", "report"), ("penstock.work", "default.cpu.a.b"), ("", "penstock.ingest")],
)
def test_its_user_reaches_no_other_workspace_and_no_other_exchange(upstream: Upstream, exchange: str, key: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(upstream.url))
    channel = connection.channel()
    channel.confirm_delivery()

    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
        channel.basic_publish(exchange, key, b"{}", mandatory=True)

    connection.close()


def test_an_event_that_ends_whoever_reads_it_is_kept_with_that_reason(upstream: Upstream) -> None:
    settings = upstream.cluster.settings
    connection = pika.BlockingConnection(pika.URLParameters(settings["PENSTOCK_BROKER_URL"]))
    properties = pika.BasicProperties(
        content_type="application/json",
        headers={
            "x-first-death-queue": "penstock.ingest",
            "x-first-death-exchange": "penstock.ingest",
            "x-first-death-reason": "delivery_limit",
        },
    )

    # As the broker takes it away after so many deliveries.
    connection.channel().basic_publish("penstock.dead", "default.upstream", b'{"poison": true}', properties)
    connection.close()

    upstream.cluster.until(lambda: any(one.body == '{"poison": true}' for one in upstream.events.refused()), "it is kept", 30.0)
    (found,) = (one for one in upstream.events.refused() if one.body == '{"poison": true}')
    assert "delivered again and again" in found.reason
    assert found.key == "default.upstream"


def test_what_is_no_event_is_kept_with_the_reason(upstream: Upstream) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(upstream.url))
    connection.channel().basic_publish("penstock.ingest", "default.plain", b"what?", pika.BasicProperties(timestamp=2**62))
    connection.close()

    upstream.cluster.until(lambda: any(one.key == "default.plain" for one in upstream.events.refused()), "it is kept", 30.0)
