"""Messages that the broker lets through and that a client's library may choke on: they stop nobody who consumes."""

import asyncio
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from penstock.transport.bus import INGEST
from penstock.transport.buses.rabbitmq import RabbitBus
from penstock.transport.buses.rabbitmq.reading import LazyHeader
from penstock.transport.buses.rabbitmq.topology import topology
from tests.servers.rabbitmq import VirtualHost
from tests.transport.rabbit import declared

TABLES: Any = {"deep": {"a": [{"b": 1}] * 100}}
NO_TEXT: Any = b"\xff\xfe"  # as a client in another language may send it


def nested(depth: int) -> Any:
    found: dict[str, object] = {"x": 1}
    for _ in range(depth):
        found = {"x": found}
    return found


def publish(url: str, properties: pika.BasicProperties, key: Any = "a.b") -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    connection.channel().basic_publish("penstock.ingest", key, b"{}", properties)
    connection.close()


@pytest.mark.parametrize(
    "properties",
    [
        pika.BasicProperties(timestamp=2**62),
        pika.BasicProperties(timestamp=2**64 - 1),
        pika.BasicProperties(headers=TABLES),
        pika.BasicProperties(headers={"wide": list(range(20_000))}),
        pika.BasicProperties(headers=nested(400)),
        pika.BasicProperties(content_type=NO_TEXT),
        pika.BasicProperties(priority=255, expiration="60000", type="x", app_id="y", correlation_id="z", reply_to="nobody"),
    ],
)
async def test_properties_of_any_value_are_read(vhost: VirtualHost, properties: pika.BasicProperties) -> None:
    await declared(vhost.url, topology())
    async with RabbitBus(vhost.url, name="test") as bus, bus.consume(INGEST, prefetch=1) as consumer:
        publish(vhost.url, properties)
        async with asyncio.timeout(10):
            async for delivery in consumer:
                assert delivery.properties.key == "a.b"
                break


async def test_a_routing_key_that_is_no_text_is_read_as_far_as_it_is(vhost: VirtualHost) -> None:
    await declared(vhost.url, topology())
    async with RabbitBus(vhost.url, name="test") as bus, bus.consume(INGEST, prefetch=1) as consumer:
        publish(vhost.url, pika.BasicProperties(content_type="text/plain"), b"a.\xff")
        async with asyncio.timeout(10):
            async for delivery in consumer:
                assert (delivery.properties.key, delivery.properties.exchange) == ("a.\N{REPLACEMENT CHARACTER}", "penstock.ingest")
                assert (delivery.body, delivery.properties.content_type) == (b"{}", "text/plain")
                await delivery.acknowledge()
                break


@given(st.binary(max_size=120))
def test_whatever_the_bytes_of_properties_are_they_can_be_asked_for(payload: bytes) -> None:
    header = LazyHeader(b"\x00\x3c\x00\x00" + (5).to_bytes(8, "big") + payload)

    assert header.body_size == 5
    assert isinstance(header.properties, Basic.Properties)
