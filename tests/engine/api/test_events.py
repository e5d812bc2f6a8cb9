"""Events come in over HTTP in every mode that CloudEvents has, from buckets and as plain messages, and each is kept once."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from penstock.transport.bus import INGEST
from tests.engine.api.serving import Api, api
from tests.engine.events.test_received import EVENT, record

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
MAPPING = {"name": "orders", "source": '"/shop"', "type": '"order." + message.kind', "id": "message.number", "routing_key": "*.orders"}


@pytest.fixture
async def served(each_store: None) -> AsyncIterator[Api]:
    async with api() as served:
        yield served


async def sent(served: Api, event: Any, headers: dict[str, str] | None = None, path: str = "/v1/events") -> httpx.Response:
    return await served.http.post(path, content=json.dumps(event).encode(), headers=headers or STRUCTURED)


def kept(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 202, answer.text
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


def reason(answer: httpx.Response, status: int = 422) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])


async def test_an_event_is_kept_and_the_answer_says_where_it_is(served: Api) -> None:
    answer = await sent(served, {**EVENT, "data": {"rows": 3}})

    (event,) = kept(answer)
    assert (event["id"], event["is_new"], event["is_conflict"]) == ("a-1", True, False)
    assert answer.headers["Location"] == event["url"] == f"/v1/events/{event['event_no']}"


async def test_the_same_event_again_is_known_and_another_content_is_a_conflict(served: Api) -> None:
    (first,), (again,), (other,) = [kept(await sent(served, {**EVENT, "data": data})) for data in (1, 1, 2)]

    assert first["event_no"] == again["event_no"] == other["event_no"]
    assert [(one["is_new"], one["is_conflict"]) for one in (first, again, other)] == [(True, False), (False, False), (False, True)]


async def test_a_binary_event_has_its_attributes_in_headers(served: Api) -> None:
    headers = {f"ce-{name}": value for name, value in EVENT.items()} | {"ce-subject": "M%C3%A4rz", "Content-Type": "text/csv"}

    answer = await served.http.post("/v1/events", content=b"a,b\n", headers=headers)

    (event,) = kept(answer)
    assert (event["id"], event["type"]) == ("a-1", "data.ready")


async def test_a_batch_is_kept_as_a_whole(served: Api) -> None:
    events = kept(await sent(served, [{**EVENT, "id": str(number)} for number in range(3)], BATCH))

    assert [event["id"] for event in events] == ["0", "1", "2"]
    refused = await sent(served, [{**EVENT, "id": "3"}, {}], BATCH)
    assert "event 1 of the batch" in reason(refused)
    assert kept(await sent(served, {**EVENT, "id": "3"}))[0]["is_new"]


async def test_whoever_decides_is_told_at_once(served: Api) -> None:
    await sent(served, EVENT)

    async with served.bus.consume(INGEST, prefetch=1) as consumer:
        ring = await anext(aiter(consumer))

    assert ring.body == b""


async def test_a_bucket_notifies_over_http(served: Api) -> None:
    answer = await sent(served, {"Records": [record(), record(key="b.csv")]}, {"Content-Type": "application/json"}, "/v1/events/s3")

    assert [event["type"] for event in kept(answer)] == ["com.amazonaws.s3.ObjectCreated:Put"] * 2
    assert kept(await sent(served, {"Event": "s3:TestEvent"}, path="/v1/events/s3")) == []
    assert "no notification" in reason(await sent(served, {"a": 1}, path="/v1/events/s3"))


async def test_a_plain_message_needs_a_declared_mapping(served: Api) -> None:
    message = {"kind": "paid", "number": 17}
    plain = {"Content-Type": "application/json"}
    assert "PUT /v1/events/mappings/orders" in reason(await sent(served, message, plain, "/v1/events/plain/orders"), 404)

    assert (await served.http.put("/v1/events/mappings/orders", json=MAPPING)).status_code == 200
    (event,) = kept(await sent(served, message, plain, "/v1/events/plain/orders"))

    assert (event["id"], event["source"], event["type"]) == ("17", "/shop", "order.paid")
    assert "there is no" in reason(await sent(served, {"number": 1}, plain, "/v1/events/plain/orders"))


async def test_mappings_are_listed_replaced_and_forgotten(served: Api) -> None:
    await served.http.put("/v1/events/mappings/orders", json=MAPPING)
    await served.http.put("/v1/events/mappings/orders", json={**MAPPING, "type": '"paid"'})

    (found,) = (await served.http.get("/v1/events/mappings")).json()["mappings"]
    assert found["type"] == '"paid"'
    assert (await served.http.delete("/v1/events/mappings/orders")).status_code == 204
    assert (await served.http.delete("/v1/events/mappings/orders")).status_code == 404


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"type": "event.type"}, "there is no `event`"),
        ({"name": "other"}, "is called 'other'"),
        ({"extra": 1}, "extra"),
        ({"exchange": "x", "routing_key": None}, "needs a routing key"),
    ],
)
async def test_a_mapping_that_could_never_work_is_refused(served: Api, change: dict[str, Any], why: str) -> None:
    assert why in reason(await served.http.put("/v1/events/mappings/orders", json={**MAPPING, **change}))


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        (b"", {}, "no event"),
        (b"{", STRUCTURED, "no JSON"),
        (b'{"a": 1}', {"Content-Type": "application/json"}, "neither a CloudEvent"),
        (b"1", {"ce-id": "1"}, "specversion is missing"),
        (b"\xff", {"Content-Type": "application/cloudevents+avro"}, "can't be read"),
        (json.dumps({**EVENT, "source": "/penstock/default"}).encode(), STRUCTURED, "what the workspace calls itself"),
    ],
)
async def test_what_is_no_event_is_refused_with_the_reason(served: Api, body: bytes, headers: dict[str, str], why: str) -> None:
    assert why in reason(await served.http.post("/v1/events", content=body, headers=headers))


async def test_a_body_over_the_limit_is_refused(served: Api) -> None:
    data = base64.b64encode(bytes(4 * 1024 * 1024)).decode()

    assert "at most" in reason(await sent(served, {**EVENT, "data": data}), 413)
    assert "let it name where its data is" in reason(await sent(served, {**EVENT, "data": data[: 300 * 1024]}))
