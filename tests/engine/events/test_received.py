"""Whatever comes in as a message is the events that its sender meant, or a `ContractError` that tells them why not."""

import base64
import contextlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.contracts.cloud_events import EVENT_LIMIT, ReceivedEvent
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ContractError
from penstock.contracts.event_mappings import EventMapping
from penstock.engine.events.plain_json import DEPTH
from penstock.engine.events.plain_messages import Mappings, check_mapping, matches_key
from penstock.engine.events.received import RECEIVED_LIMIT, received
from penstock.transport.bus import Properties

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
EVENT = {"specversion": "1.0", "id": "a-1", "source": "/sales", "type": "data.ready"}
BINARY = {f"cloudEvents:{name}": value for name, value in EVENT.items()}
ORDERS = EventMapping(
    name="orders",
    source='"/shop"',
    type='"order." + message.kind',
    id="message.number",
    time="message.at",
    data='{"uri": message.file}',
    routing_key="*.orders.#",
)


class Delivered:
    """A message as a bus delivers it."""

    redelivered = False

    def __init__(
        self,
        body: bytes,
        content_type: str = "",
        headers: Mapping[str, Any] | None = None,
        key: str = "",
        exchange: str = "penstock.ingest",
    ) -> None:
        self.body = body
        self.properties = Properties(content_type=content_type, headers=headers or {}, key=key, exchange=exchange, user_id="lake")

    async def acknowledge(self) -> None:
        """Nobody asks."""

    async def give_back(self) -> None:
        """Nobody does."""

    async def refuse(self) -> None:
        """Nobody does."""


def taken(delivered: Delivered, *mappings: EventMapping) -> list[ReceivedEvent]:
    return received(delivered, 7, "default", Mappings({"default": mappings}))


def the_one(delivered: Delivered, *mappings: EventMapping) -> ReceivedEvent:
    (found,) = taken(delivered, *mappings)
    return found


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def refused(delivered: Delivered, *mappings: EventMapping) -> str:
    with pytest.raises(ContractError) as error:
        taken(delivered, *mappings)
    return str(error.value)


def test_a_structured_event_keeps_its_attributes_extensions_and_data() -> None:
    whole = {**EVENT, "time": "2026-03-01T06:30:00+01:00", "subject": "day", "data": {"rows": 3}, "penstockhops": 2, "team": "lake"}

    found = the_one(Delivered(encoded(whole), f"{STRUCTURED}; charset=UTF-8"))

    event = found.event
    assert (event.id, event.source, event.type, event.subject) == ("a-1", "/sales", "data.ready", "day")
    assert (event.time, event.data, event.extensions) == ("2026-03-01T06:30:00+01:00", {"rows": 3}, {"penstockhops": 2, "team": "lake"})
    assert (found.workspace, found.via, found.sender, found.received_at) == ("default", "amqp", "lake", 7)


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_", "cloudevents:"])
def test_a_binary_event_has_its_attributes_in_headers_and_its_data_in_the_body(prefix: str) -> None:
    headers: dict[str, Any] = {f"{prefix}{name}": value for name, value in EVENT.items()}
    headers |= {f"{prefix}time": "2026-03-01T06:30:00Z", f"{prefix}urgent": True, "x-delivery-count": 1}

    event = the_one(Delivered(b'{"rows": 3}', "application/json", headers)).event

    assert (event.id, event.data, event.datacontenttype) == ("a-1", {"rows": 3}, "application/json")
    assert (event.time, event.extensions) == ("2026-03-01T06:30:00Z", {"urgent": True})


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("application/json", b"[1]", [1]),
        ("application/vnd.lake+json", b'"x"', "x"),
        ("text/csv", "a,å\n".encode(), "a,å\n"),
        ("application/octet-stream", b"\xff\x00", base64.b64encode(b"\xff\x00").decode()),
        ("text/plain", b"\xff", base64.b64encode(b"\xff").decode()),
        ("", b'{"a": 1}', {"a": 1}),
        ("", b"words", "words"),
        ("application/json", b"", None),
    ],
)
def test_binary_data_is_json_text_or_base64_as_its_type_says(content_type: str, body: bytes, data: Any) -> None:
    assert the_one(Delivered(body, content_type, BINARY)).event.data == data


def test_data_in_base64_is_read_as_its_type_says() -> None:
    known = {**EVENT, "data_base64": base64.b64encode(b'{"rows": 3}').decode(), "datacontenttype": "application/json"}

    assert the_one(Delivered(encoded(known), STRUCTURED)).event.data == {"rows": 3}


def test_a_number_where_a_name_belongs_is_a_name_in_binary_mode() -> None:
    assert the_one(Delivered(b"", "", {**BINARY, "cloudEvents:id": 17})).event.id == "17"


def test_a_batch_is_its_events_in_their_order() -> None:
    batch = [{**EVENT, "id": str(number)} for number in range(3)]

    assert [one.event.id for one in taken(Delivered(encoded(batch), BATCH))] == ["0", "1", "2"]
    assert taken(Delivered(b"[]", BATCH)) == []


def test_an_event_in_json_is_known_without_its_content_type() -> None:
    assert the_one(Delivered(encoded(EVENT), "application/json")).event.id == "a-1"


def test_an_empty_message_is_no_event_and_no_error() -> None:
    assert taken(Delivered(b"")) == []


@pytest.mark.parametrize(
    ("key", "exchange", "workspace"),
    [
        ("sales.orders", "penstock.ingest", "sales"),
        ("sales", "penstock.ingest", "default"),
        ("sales.", "penstock.ingest", "default"),
        ("Sales.orders", "penstock.ingest", "default"),
        ("", "penstock.ingest", "default"),
        ("sales.orders", "lake.events", "default"),
    ],
)
def test_the_workspace_is_the_first_word_of_a_key_that_the_broker_vouches_for(key: str, exchange: str, workspace: str) -> None:
    assert the_one(Delivered(encoded(EVENT), STRUCTURED, key=key, exchange=exchange)).workspace == workspace


def record(name: str = "ObjectCreated:Put", key: str = "daily/m%C3%A4rz+1.csv", **more: Any) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-west-1",
        "eventTime": "2026-03-01T06:30:00.123Z",
        "eventName": name,
        "responseElements": {"x-amz-request-id": "R1", "x-amz-id-2": "H2"},
        "s3": {"bucket": {"name": "lake"}, "object": {"key": key, "size": 5, "eTag": "e", "sequencer": "0055"}},
        **more,
    }


def test_a_notification_of_s3_is_an_event_for_each_object() -> None:
    found = taken(Delivered(encoded({"Records": [record(), record("ObjectRemoved:Delete", "old")]})))

    put, removed = (one.event for one in found)
    assert (put.type, put.source, put.subject) == ("com.amazonaws.s3.ObjectCreated:Put", "aws:s3.eu-west-1.lake", "daily/märz 1.csv")
    assert put.time == "2026-03-01T06:30:00.123Z"
    assert put.id.startswith("R1.H2.")
    assert put.data["uri"] == "s3://lake/daily/märz 1.csv"
    assert put.data["s3"]["object"]["size"] == 5
    assert removed.type == "com.amazonaws.s3.ObjectRemoved:Delete"
    assert {one.via for one in found} == {"s3"}


def test_a_notification_of_minio_is_named_like_one_of_s3() -> None:
    told = record("s3:ObjectCreated:CompleteMultipartUpload", "a%2Fb.csv", eventSource="minio:s3", awsRegion="")

    event = the_one(Delivered(encoded({"EventName": "s3:ObjectCreated:Put", "Key": "lake/a/b.csv", "Records": [told]}))).event

    assert event.type == "com.amazonaws.s3.ObjectCreated:CompleteMultipartUpload"
    assert (event.source, event.subject) == ("minio:s3..lake", "a/b.csv")


def test_a_notification_that_is_sent_again_is_the_same_event_and_another_object_of_its_request_is_another() -> None:
    first, again, other = (the_one(Delivered(encoded({"Records": [record(key=key)]}))).event.id for key in ("a.csv", "a.csv", "b.csv"))

    assert first == again != other


def test_a_notification_without_request_ids_is_known_by_its_content() -> None:
    first = the_one(Delivered(encoded({"Records": [record(responseElements={})]}))).event
    other = the_one(Delivered(encoded({"Records": [record(responseElements=None, eventTime="2026-03-01T06:30:01Z")]}))).event

    assert len(first.id) == 64
    assert first.id != other.id


def test_the_message_by_which_s3_tries_an_address_is_no_event() -> None:
    assert taken(Delivered(encoded({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "lake"}))) == []


def test_a_plain_message_becomes_what_its_mapping_says() -> None:
    message = {"kind": "paid", "number": 17, "at": "2026-03-01T06:30:00Z", "file": "s3://lake/17.csv"}

    found = the_one(Delivered(encoded(message), "application/json", key="shop.orders.eu", exchange="shop"), ORDERS)

    event = found.event
    assert (found.via, event.id, event.source, event.type) == ("plain", "17", "/shop", "order.paid")
    assert (event.time, event.data) == ("2026-03-01T06:30:00Z", {"uri": "s3://lake/17.csv"})


def test_a_plain_message_without_an_id_is_known_by_its_bytes() -> None:
    mapping = EventMapping(name="any", source='"/x"', type='"y"', routing_key="#")

    event = the_one(Delivered(b"just words"), mapping).event

    assert (event.id, event.data) == (digest_bytes(b"just words"), "just words")


def test_a_message_may_name_its_mapping() -> None:
    mapping = EventMapping(name="mine", source='"/x"', type="message.t")

    assert the_one(Delivered(b'{"t": "a"}', headers={"penstock-mapping": "mine"}), ORDERS, mapping).event.type == "a"
    assert "no mapping 'other'" in refused(Delivered(b"{}", headers={"penstock-mapping": "other"}), mapping)


def test_mappings_of_another_workspace_are_not_looked_at() -> None:
    assert "no mapping is declared" in refused(Delivered(b'{"kind": "x"}', key="sales.orders.x"), ORDERS)


@pytest.mark.parametrize(
    ("pattern", "key", "is_meant"),
    [("#", "", True), ("a.*", "a.b", True), ("a.*", "a", False), ("a.#", "a", True), ("a.#.c", "a.b.b.c", True), ("a.b", "axb", False)],
)
def test_a_mapping_is_chosen_by_words_of_the_routing_key(pattern: str, key: str, is_meant: bool) -> None:
    assert matches_key(pattern, key) == is_meant


@pytest.mark.parametrize(
    ("mapping", "why"),
    [
        (EventMapping(name="m", source="event.id", type='"y"'), "there is no `event`"),
        (EventMapping(name="m", source='"x', type='"y"'), "`source` of the mapping m"),
    ],
)
def test_a_mapping_that_could_never_work_is_refused_when_it_is_declared(mapping: EventMapping, why: str) -> None:
    with pytest.raises(ContractError, match=why):
        check_mapping(mapping)


DEEP = b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1)


@pytest.mark.parametrize(
    ("delivered", "why"),
    [
        (Delivered(b"{", STRUCTURED), "no JSON"),
        (Delivered(b"\xff\xfe", STRUCTURED), "no JSON"),
        (Delivered(b"[]", STRUCTURED), "is an object"),
        (Delivered(b"{}", BATCH), "JSON array"),
        (Delivered(encoded({**EVENT, "specversion": "0.3"}), STRUCTURED), "specversion is '0.3'"),
        (Delivered(encoded({"id": "1"}), STRUCTURED), "specversion is missing"),
        (Delivered(encoded({**EVENT, "id": ""}), STRUCTURED), "id: "),
        (Delivered(encoded({**EVENT, "id": 5}), STRUCTURED), "id: "),
        (Delivered(encoded({**EVENT, "id": "x" * 256}), STRUCTURED), "id: "),
        (Delivered(encoded({**EVENT, "time": "yesterday"}), STRUCTURED), "RFC 3339"),
        (Delivered(encoded({**EVENT, "time": "2026-13-01T00:00:00Z"}), STRUCTURED), "RFC 3339"),
        (Delivered(encoded({**EVENT, "my-name": 1}), STRUCTURED), "can't be an attribute"),
        (Delivered(encoded({**EVENT, "extra": {"a": 1}}), STRUCTURED), "extensions"),
        (Delivered(encoded({**EVENT, "data": 1, "data_base64": "AA=="}), STRUCTURED), "both"),
        (Delivered(encoded({**EVENT, "data_base64": "?"}), STRUCTURED), "data_base64"),
        (Delivered(encoded({**EVENT, "data": "x" * EVENT_LIMIT}), STRUCTURED), "let it name where its data is"),
        (Delivered(encoded([EVENT, {}]), BATCH), "event 1 of the batch"),
        (Delivered(encoded([EVENT] * 1001), BATCH), "1000 at most"),
        (Delivered(b"<x/>", "application/cloudevents+xml"), "can't be read"),
        (Delivered(b"{", "application/json", BINARY), "no JSON"),
        (Delivered(b"NaN", "application/json", BINARY), "NaN"),
        (Delivered(b"1e999", "application/json", BINARY), "no number"),
        (Delivered(b"9" * 5000, "application/json", BINARY), "no JSON"),
        (Delivered(DEEP, "application/json", BINARY), "too deeply"),
        (Delivered(b"[" * 100_000, "application/json", BINARY), "too deeply"),
        (Delivered(b'{"\\u00e9": 1, "e\\u0301": 2}', "application/json", BINARY), "two keys"),
        (Delivered(b"", "", {"cloudEvents:type": "x"}), "specversion is missing"),
        (Delivered(encoded({"Records": [{"s3": {}}]})), r"Records\[0\]: s3.bucket.name"),
        (Delivered(encoded({"Records": [record(), 5]})), r"Records\[1\]"),
        (Delivered(encoded({"Records": [record(key="k" * 2000)]})), "subject"),
        (Delivered(encoded({"hello": 1})), "neither a CloudEvent"),
        (Delivered(encoded({**EVENT, "source": "/penstock/default/triggers/x"}), STRUCTURED), "what the workspace calls itself"),
        (Delivered(encoded({**EVENT, "source": "/penstock/sales"}), STRUCTURED, key="sales.x"), "what the workspace calls itself"),
        (Delivered(b"x" * (RECEIVED_LIMIT + 1)), "at most"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(delivered: Delivered, why: str) -> None:
    with pytest.raises(ContractError, match=why):
        taken(delivered)


@pytest.mark.parametrize("message", [b"{}", b'{"kind": 1, "number": 1}', b'{"kind": "x", "number": true, "at": 1, "file": 1}', b"[1]"])
def test_a_message_that_its_mapping_can_make_nothing_of_is_refused(message: bytes) -> None:
    refused(Delivered(message, key="a.orders", exchange="shop"), ORDERS)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from([*EVENT, "time", "data", "data_base64", "datacontenttype", "Records", "Event", "x", "\x00", "kind", "number", "at"])
OBJECTS = st.dictionaries(NAMES, PLAIN, max_size=8).map(lambda parts: {**EVENT, **parts})
BODIES = st.binary(max_size=60) | (PLAIN | OBJECTS | st.lists(OBJECTS, max_size=3) | OBJECTS.map(lambda one: {"Records": [one]})).map(
    encoded
)
TYPES = st.sampled_from([STRUCTURED, BATCH, "application/json", "text/plain", "application/cloudevents+avro", ""]) | st.text(max_size=20)
HEADERS = st.dictionaries(
    st.sampled_from([*BINARY, "cloudEvents:time", "cloudEvents:", "cloudEvents_É", "penstock-mapping", "x"]) | st.text(max_size=8),
    PLAIN | st.binary(max_size=8),
    max_size=6,
)


@settings(max_examples=300)
@given(
    body=BODIES, content_type=TYPES, headers=HEADERS, key=st.sampled_from(["", "default.orders", "a.b", "\x00.é"]) | st.text(max_size=20)
)
def test_whatever_comes_is_events_or_a_contract_error(body: bytes, content_type: str, headers: dict[str, Any], key: str) -> None:
    found: list[ReceivedEvent] = []
    with contextlib.suppress(ContractError):
        found = taken(Delivered(body, content_type, headers, key), ORDERS)

    assert all(1 <= len(one.event.id) <= 255 for one in found)
