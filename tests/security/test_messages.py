"""What strangers send to `penstock.ingest` and `penstock.reports`: each message is refused or harmless, and the next good one is served."""

import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pika
import pytest

from penstock.contracts.cloud_events import EVENT_LIMIT
from penstock.contracts.messages import COMMAND_LIMIT, CancelRun, SubmitRun, encode
from penstock.contracts.states import RunState
from penstock.engine.events.received import RECEIVED_LIMIT
from penstock.engine.statement import Statement
from penstock.engine.stores.postgres import PostgresStore
from penstock.engine.stores.sqlite import MemoryStore
from penstock.transport.bus import Envelope, Exchange
from penstock.transport.buses.memory import MemoryBus
from penstock.transport.buses.rabbitmq import RabbitBus
from penstock.transport.buses.rabbitmq.topology import topology
from tests.engine.cluster import Cluster, cluster, pipeline, step
from tests.engine.events.bench import Bench, event, parameter, received_body, serving, trigger, until
from tests.security.tables import ADDRESSES, BODIES, NAMES, deep
from tests.security.tables import event as hostile
from tests.servers.rabbitmq import VirtualHost
from tests.transport.rabbit import declared

_refused = Statement("SELECT count(*) FROM event_refusal")
_kept = Statement("SELECT id, workspace FROM event")
EVENT_TYPE = "application/cloudevents+json"
BATCH_TYPE = "application/cloudevents-batch+json"

EVENTS: dict[str, tuple[bytes, str]] = {
    **{f"{name} as an event": (body, EVENT_TYPE) for name, body in BODIES.items()},
    **{f"{name} as a batch": (body, BATCH_TYPE) for name, body in BODIES.items()},
    **{f"{name} as whatever": (body, "") for name, body in BODIES.items()},
    **{f"id of a {name}": (hostile(id=text, data=1), EVENT_TYPE) for name, text in NAMES.items()},
    **{f"data at {name}": (hostile(id=name, type="day.ready", data={"rows": text}), EVENT_TYPE) for name, text in ADDRESSES.items()},
    "too large": (hostile(data="x" * EVENT_LIMIT), EVENT_TYPE),
    "far too large": (b"x" * (RECEIVED_LIMIT + 1), EVENT_TYPE),
    "16 MiB": (b"[" * (16 * 1024 * 1024), BATCH_TYPE),
    "a hundred thousand events": (b"[" + b",".join([b"{}"] * 100_000) + b"]", BATCH_TYPE),
    "a batch of batches": (deep(60), BATCH_TYPE),
    "deep data": (hostile(data=json.loads(deep(60))), EVENT_TYPE),
    "deeper data": (b'{"specversion":"1.0","id":"d","source":"s","type":"t","data":' + deep(500) + b"}", EVENT_TYPE),
    "a negative hop": (hostile(penstockhops=-(2**63)), EVENT_TYPE),
    "many hops": (hostile(id="hops", penstockhops=2**62), EVENT_TYPE),
    "more hops than numbers": (hostile(penstockhops=10**400), EVENT_TYPE),
    "hops in words": (hostile(id="words", penstockhops="0 OR 1=1"), EVENT_TYPE),
    "a cause of its own": (hostile(id="cause", causationid="a\x00b", correlationid="\ud800"), EVENT_TYPE),
    "no version": (hostile(specversion="9" * 1000), EVENT_TYPE),
    "a time": (hostile(time="9999-99-99T99:99:99Z"), EVENT_TYPE),
    "a subject of nothing": (hostile(subject="\x00" * 1000), EVENT_TYPE),
    "ours": (hostile(source="/penstock/default"), EVENT_TYPE),
    "a trigger's": (hostile(source="/penstock/default/triggers/retrain", type="penstock.data.object.changed"), EVENT_TYPE),
    "another body under one id": (hostile(id="one", data=2), EVENT_TYPE),
    "both data": (hostile(data=1, data_base64="AAAA"), EVENT_TYPE),
    "no base64": (hostile(data_base64="\N{PILE OF POO}"), EVENT_TYPE),
    "a schema elsewhere": (hostile(id="schema", dataschema="http://169.254.169.254/"), EVENT_TYPE),
    "many extensions": (hostile(**{f"x{number}": 1 for number in range(10_000)}), EVENT_TYPE),
    "an extension of a map": (hostile(x={"$gt": ""}), EVENT_TYPE),
    "records of nothing": (b'{"Records": [{"s3": {}}]}', ""),
    "records without end": (b'{"Records": [' + b",".join([b'{"s3": {}}'] * 50_000) + b"]}", ""),
    "a record elsewhere": (
        json.dumps(
            {"Records": [{"eventSource": "x", "eventName": "y", "s3": {"bucket": {"name": "../.."}, "object": {"key": "%00%2e%2e"}}}]}
        ).encode(),
        "",
    ),
    **{f"type {name}": (hostile(), text) for name, text in NAMES.items()},
}
HEADERS: list[dict[str, Any]] = [
    {"cloudEvents:id": "\x00", "cloudEvents:source": "\n", "cloudEvents:type": "\x1b", "cloudEvents:specversion": "1.0"},
    {"cloudEvents:": "x", "cloudEvents:\x00": "y", "cloudEvents:a\nb": 1},
    {"cloudEvents:id": b"\xff\xfe", "cloudEvents:source": 2**62, "cloudEvents:type": True, "cloudEvents:specversion": "1.0"},
    {"cloudEvents:id": {"a": [1]}, "cloudEvents:source": [1], "cloudEvents:type": None, "cloudEvents:specversion": 10},
    {f"cloudEvents:x{number}": "y" * 1000 for number in range(100)},
    {"penstock-mapping": "../../etc/passwd"},
    {"penstock-mapping": {"a": 1}},
    {"penstock-mapping": b"\xff"},
    {"x-first-death-exchange": "penstock.orders", "x-death": "many", "x-delivery-count": -1},
    {"\x00\n": "\x00", "e" * 255: "x" * 100_000},
]
KEYS = [
    "",
    "*",
    "#",
    "a.b",
    "other.x",
    "default.x",
    "penstock.x",
    "." * 255,
    "x" * 255,
    "../x",
    "a\x00.b",
    "DEFAULT.x",
    "\N{CYRILLIC SMALL LETTER IE}.x",
]


@asynccontextmanager
async def attacked(store: MemoryStore | PostgresStore, bus: Any) -> AsyncGenerator[Bench]:
    bench = Bench(store)
    await bench.publish(parameter("rows"))
    await bench.declare(trigger(parameters={"rows": "event.data.rows"}))
    async with serving(bench, bus, []):
        yield bench
    await store.close()


async def still_serves(bench: Bench, bus: Any, identity: str = "good") -> None:
    """A good event, sent last, is decided and starts a run; nothing else has."""
    before = len(await bench.runs())
    sent = received_body(event(identity, data={"rows": 7}))
    await bus.publish(Envelope(exchange=Exchange.INGEST, key="event", body=sent, content_type=EVENT_TYPE))

    async def is_decided() -> bool:
        return (await bench.states()).get(identity) == "done"

    await until(is_decided)
    assert (await bench.runs())[before:] == [{"rows": 7}], identity


async def test_whatever_is_sent_for_an_event_the_next_one_is_served() -> None:
    bus = MemoryBus()
    async with attacked(MemoryStore(), bus) as bench:
        for name, (body, content_type) in EVENTS.items():
            await bus.publish(Envelope(exchange=Exchange.INGEST, key="event", body=body, content_type=content_type))
            await still_serves(bench, bus, f"after {name}")
        known = await bench.store.read(lambda connection: _kept.rows(connection))
        assert {workspace for _, workspace in known} == {"default"}


async def test_all_of_it_comes_over_a_broker_into_a_database(vhost: VirtualHost, database: str) -> None:
    await declared(vhost.url, topology())
    chance = random.Random(7)
    connection = pika.BlockingConnection(pika.URLParameters(vhost.url))
    channel = connection.channel()
    for headers in HEADERS:
        for key in KEYS[:3]:
            channel.basic_publish("penstock.ingest", key, b'{"rows": 1}', pika.BasicProperties(headers=headers, content_type="text/\x00"))
    for key in KEYS:
        channel.basic_publish("penstock.ingest", key, hostile(id=f"key {key!r}"[:255]), pika.BasicProperties(content_type=EVENT_TYPE))
    for body, content_type in EVENTS.values():
        properties = pika.BasicProperties(content_type=content_type.encode()[:255].decode(errors="ignore"), content_encoding="gzip")
        channel.basic_publish("penstock.ingest", "event", body[: 5 * 1024 * 1024], properties)
    for _ in range(100):
        channel.basic_publish("penstock.ingest", "event", chance.randbytes(chance.randrange(200)), pika.BasicProperties())
    connection.close()

    async with RabbitBus(vhost.url, name="test") as bus, attacked(PostgresStore(database), bus) as bench:
        await still_serves(bench, bus)
        refused = await bench.store.read(lambda connection: _refused.number(connection))
        assert refused > 100


REPORTS: dict[str, bytes] = {
    **BODIES,
    **{f"packed {name}": bytes(msgpack.packb([0, body, b""])) for name, body in BODIES.items()},
    "bomb": b"\xdd\xff\xff\xff\xff" * 100,
    "bomb of maps": b"\xdf\xff\xff\xff\xff",
    "bomb of text": b"\xdb\xff\xff\xff\xff",
    "bomb within": bytes(msgpack.packb([0, b"\xdd\xff\xff\xff\xff", b""])),
    "deep": b"\x91" * 100_000,
    "deep within": bytes(msgpack.packb([0, b"\x91" * 100_000, b""])),
    "extension": bytes(msgpack.packb(msgpack.ExtType(1, b"os.system"))),
    "extension within": bytes(msgpack.packb([0, msgpack.packb({"type": msgpack.ExtType(5, b"x")}), b""])),
    "a time": bytes(msgpack.packb([0, msgpack.packb({"type": msgpack.Timestamp(2**33)}), b""])),
    "keys of numbers": bytes(msgpack.packb([0, msgpack.packb({1: 2, b"x": 3}), b""])),
    "another version": bytes(msgpack.packb([0, msgpack.packb({"type": "reports", "version": 99}), b""])),
    "another type": bytes(msgpack.packb([0, msgpack.packb({"type": "os.system", "version": 1}), b""])),
    "type of a list": bytes(msgpack.packb([0, msgpack.packb({"type": ["reports"], "version": 1}), b""])),
    "another key": bytes(msgpack.packb([2**40, b"", b"x" * 32])),
    "key of text": bytes(msgpack.packb(["../key", b"", b""])),
    "reports of nothing": bytes(msgpack.packb([0, msgpack.packb({"type": "reports", "version": 1, "reports": [None, 1, {}]}), b""])),
    "too large": b"x" * (COMMAND_LIMIT + 1),
    "16 MiB of nothing": bytes(msgpack.packb([0, b"\x00" * (COMMAND_LIMIT - 100), b""])),
    "a cancellation of nothing": encode(CancelRun(workspace="default", run_id="nobody", reason="x" * 1000)),
    "a run without a spec": encode(SubmitRun(workspace="default", run_id="x", spec=b"{}")),
    "a run of a deep spec": encode(SubmitRun(workspace="default", run_id="x", spec=deep(10_000))),
    "a run elsewhere": encode(SubmitRun(workspace="other", run_id="x", spec=b'{"name": "flow", "spec": 1, "nodes": []}')),
    **{f"random {number}": random.Random(number).randbytes(64) for number in range(20)},
}


async def still_works(engine: Cluster) -> None:
    run_no = await engine.submit(pipeline(step("good")))
    while (order := await engine.order()).attempt.run_no != run_no:
        pass
    await engine.report(engine.completed(order))
    assert (await engine.ended(run_no))[0] is RunState.SUCCEEDED


@pytest.mark.parametrize("exchange", [Exchange.REPORTS, Exchange.VITALS, Exchange.CONTROL, Exchange.EVENTS])
@pytest.mark.parametrize("key", ["", "report", "submit", "cancel"])
async def test_whatever_is_sent_for_a_report_the_next_run_ends_well(exchange: Exchange, key: str) -> None:
    async with cluster() as engine:
        for body in REPORTS.values():
            await engine.bus.publish(Envelope(exchange=exchange, key=key, body=body))
        await still_works(engine)
