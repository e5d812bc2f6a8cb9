"""`python -m bench.events`: from an event to the first line of the user's code, in a warm pool: embedded, and on services started here.

Each event is published when the run of the one before has ended, by a client that knows nothing of Penstock.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pika

from bench.machine import machine
from bench.pipelines_events import EVENT, heard
from bench.table import table
from bench.written import write_results
from penstock.deploy.remote.client import connect
from penstock.sdk.client import EngineClient
from penstock.sdk.runs.state_home import using_engine
from tests.servers.cluster import Cluster
from tests.servers.process import free_port
from tests.servers.service import PROGRAM

WARM = 5
"""Events before those that count."""
PATIENCE_SECONDS = 30.0
TOKEN = "a-token-of-a-benchmark"  # noqa: S105 - of no worth
_HEAD = ("from the event to the user's first line", "p50", "p95", "max", "aim")
Send = Callable[[dict[str, Any]], None]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.events")
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="put the table into bench/README.md")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        rows = [
            _row("embedded (`penstock dev`), by HTTP", _embedded(Path(folder) / "embedded", asked.events), ""),
            *_distributed(Path(folder) / "services", asked.events),
        ]
    text = f"{machine(1)} {asked.events} events each.\n\n{table(rows, _HEAD)}"
    print(text)
    if asked.write:
        write_results("events", text)


def _row(title: str, seconds: list[float], aim: str) -> tuple[str, ...]:
    quantiles = statistics.quantiles(seconds, n=20)
    return title, *(f"{value * 1e3:.1f} ms" for value in (statistics.median(seconds), quantiles[18], max(seconds))), aim


def _embedded(folder: Path, events: int) -> list[float]:
    folder.mkdir()
    with _dev(folder) as url:
        client = connect(folder / "client", url, TOKEN)
        try:
            return _by_http(client, url, TOKEN, events)
        finally:
            client.close()


@contextmanager
def _dev(folder: Path) -> Generator[str]:
    port = free_port()
    variables = {**os.environ, "PENSTOCK_HOME": str(folder / "home"), "PENSTOCK_API_TOKEN": TOKEN}
    with subprocess.Popen(
        [*PROGRAM, "dev", "--port", str(port)], cwd=folder, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as dev:
        try:
            url = f"http://127.0.0.1:{port}"
            _await(lambda: _answers(url))
            yield url
        finally:
            dev.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/health", headers={"Authorization": f"Bearer {TOKEN}"}).is_success
    except httpx.TransportError:
        return False


def _distributed(folder: Path, events: int) -> list[tuple[str, ...]]:
    with Cluster(folder, coordinators=1, runners=[{"cpu": 4}], has_api=True) as cluster:
        url, token = cluster.settings["PENSTOCK_API_URL"], cluster.settings["PENSTOCK_API_TOKEN"]
        by_http = _by_http(cluster.engine, url, token, events)
        connection = pika.BlockingConnection(pika.URLParameters(cluster.settings["PENSTOCK_BROKER_URL"]))
        channel = connection.channel()
        channel.confirm_delivery()

        def send(event: dict[str, Any]) -> None:
            properties = pika.BasicProperties(content_type="application/cloudevents+json", delivery_mode=2)
            channel.basic_publish("penstock.ingest", f"default.{EVENT}", json.dumps(event).encode(), properties, mandatory=True)

        by_broker = _measured(cluster.engine, send, events)
        connection.close()
    return [
        _row("services, by RabbitMQ", by_broker, "p50 ≤ 20 ms"),
        _row("services, by HTTP", by_http, ""),
    ]


def _by_http(engine: EngineClient, url: str, token: str, events: int) -> list[float]:
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}) as http:

        def send(event: dict[str, Any]) -> None:
            http.post(
                f"{url}/v1/events", content=json.dumps(event), headers={"Content-Type": "application/cloudevents+json"}
            ).raise_for_status()

        return _measured(engine, send, events)


def _measured(engine: EngineClient, send: Send, events: int) -> list[float]:
    """Seconds from just before each event was sent to its run's first line."""
    with using_engine(engine):
        heard.publish(triggers="on")
    found: list[float] = []
    series = time.time_ns()
    for number in range(events + WARM):
        before = len(engine.runs(pipeline="heard", limit=1000))
        event = {"specversion": "1.0", "id": f"{series}-{number}", "source": "/bench", "type": EVENT}
        send({**event, "data": {"sent": time.time()}})
        _await(lambda before=before: len(engine.runs(pipeline="heard", limit=1000)) > before)  # type: ignore[misc]
        run = engine.runs(pipeline="heard", limit=1)[0]
        last = list(engine.follow(run.run_id))[-1]
        found.append(float(last.outputs["result"].json_value()))  # type: ignore[union-attr]
    return found[WARM:]


def _await(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


if __name__ == "__main__":
    main()
