"""Subscriptions over HTTP: made, paused, tested, retried; the secret is shown once and kept nowhere."""

import base64
from typing import Any

import pytest

from penstock.engine.outgoing.owed_events import claim, give_up
from penstock.engine.outgoing.webhook_addresses import Allowed
from penstock.engine.statement import Statement
from tests.engine.api.serving import Api, api

_subscriptions = Statement("SELECT * FROM subscription")
_owed = Statement("SELECT * FROM owed_event")
KEY = b"the-signing-key-of-the-services!"
HOOK = {"name": "alerts", "kind": "webhook", "url": "https://example.org/hook", "types": ["penstock.run.failed"]}

pytestmark = pytest.mark.usefixtures("each_store")


async def made(serving: Api, **fields: Any) -> dict[str, Any]:
    answer = await serving.http.post("/v1/subscriptions", json={**HOOK, **fields})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_webhook_is_made_with_a_secret_that_is_shown_once() -> None:
    async with api(signing_key=KEY) as serving:
        found = await made(serving)
        shown = (await serving.http.get("/v1/subscriptions/alerts")).json()
        listed = (await serving.http.get("/v1/subscriptions")).json()["subscriptions"]
        again = await serving.http.post("/v1/subscriptions", json=HOOK)

    secret = found.pop("secret")
    assert secret.startswith("whsec_")
    assert shown == found
    assert listed == [found]
    assert (found["state"], found["pipeline"], found["types"]) == ("on", None, ["penstock.run.failed"])
    assert again.status_code == 422
    assert "remove it first" in again.json()["detail"]


async def test_a_subscription_on_the_bus_has_no_secret() -> None:
    async with api() as serving:
        answer = await serving.http.post("/v1/subscriptions", json={"name": "lake", "kind": "bus"})

    assert answer.status_code == 201
    assert answer.json()["secret"] is None
    assert answer.json()["types"] == ["penstock.run.*"]


async def test_without_a_signing_key_there_are_no_webhooks() -> None:
    async with api() as serving:
        answer = await serving.http.post("/v1/subscriptions", json=HOOK)
        listed = (await serving.http.get("/v1/subscriptions")).json()["subscriptions"]

    assert answer.status_code == 422
    assert "PENSTOCK_SIGNING_KEY" in answer.json()["detail"]
    assert listed == []


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"url": "http://example.org/hook"}, "https"),
        ({"url": "https://127.0.0.1/hook"}, "PENSTOCK_WEBHOOK_ALLOW"),
        ({"url": "https://user:pw@example.org/hook"}, "password"),
        ({"url": None}, "needs a `url`"),
        ({"kind": "bus"}, "leave `url`"),
        ({"types": []}, "types"),
        ({"types": ["a\nb"]}, "types"),
        ({"rate_per_second": 0}, "rate_per_second"),
        ({"name": "No Name"}, "name"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_can_t_be_is_refused_with_a_reason(fields: dict[str, Any], complaint: str) -> None:
    async with api(signing_key=KEY) as serving:
        answer = await serving.http.post("/v1/subscriptions", json={**HOOK, **fields})

    assert answer.status_code == 422
    assert complaint in answer.json()["detail"]


async def test_hosts_that_are_allowed_may_be_inside() -> None:
    async with api(signing_key=KEY, webhooks_allowed=Allowed.of(["127.0.0.1"])) as serving:
        found = await made(serving, url="http://127.0.0.1:9000/hook")

    assert found["url"] == "http://127.0.0.1:9000/hook"


async def test_it_is_paused_resumed_rotated_and_removed() -> None:
    async with api(signing_key=KEY) as serving:
        first = await made(serving)
        paused = await serving.http.post("/v1/subscriptions/alerts/pause")
        resumed = await serving.http.post("/v1/subscriptions/alerts/resume")
        rotated = await serving.http.post("/v1/subscriptions/alerts/rotate")
        removed = await serving.http.delete("/v1/subscriptions/alerts")
        gone = await serving.http.get("/v1/subscriptions/alerts")
        second = await made(serving)

    assert (paused.json()["state"], resumed.json()["state"]) == ("paused", "on")
    assert removed.status_code == 204
    assert gone.status_code == 404
    assert len({first["secret"], rotated.json()["secret"], second["secret"]}) == 3, "one of the same name has another secret"


async def test_deliveries_are_seen_page_by_page_and_tried_again() -> None:
    async with api(signing_key=KEY) as serving:
        await made(serving)
        for _ in range(3):
            assert (await serving.http.post("/v1/subscriptions/alerts/test")).status_code == 202
        taken = await serving.store.transaction(lambda connection: claim(connection, "default", "alerts", 2**61, 1))
        await serving.store.transaction(lambda connection: give_up(connection, taken[0].number, 500, "no", 1))
        place = "/v1/subscriptions/alerts/deliveries"
        page = (await serving.http.get(place, params={"limit": 2})).json()
        rest = (await serving.http.get(place, params={"limit": 2, "cursor": page["next"]})).json()
        dead = (await serving.http.get(place, params={"state": "dead"})).json()["deliveries"]
        number = dead[0]["delivery_no"]
        retried = await serving.http.post(f"{place}/{number}/retry")
        all_of_them = await serving.http.post(f"{place}/retry")
        none = await serving.http.post(f"{place}/999/retry")

    assert [len(page["deliveries"]), len(rest["deliveries"]), rest["next"]] == [2, 1, None]
    assert dead[0]["error"] == "no"
    assert dead[0]["type"] == "penstock.webhook.test"
    assert retried.json() == {"retried": 1}
    assert all_of_them.json() == {"retried": 0}
    assert none.status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/rotate"), ("POST", "/test"),
        ("GET", "/deliveries"), ("POST", "/deliveries/retry"), ("POST", "/deliveries/1/retry"),
    ],
)  # fmt: skip
async def test_what_is_not_there_is_said_to_be_missing(method: str, path: str) -> None:
    async with api(signing_key=KEY) as serving:
        answer = await serving.http.request(method, f"/v1/subscriptions/nobody{path}")

    assert answer.status_code == 404
    assert "nobody" in answer.json()["detail"]


async def test_no_store_holds_the_secret() -> None:
    async with api(signing_key=KEY) as serving:
        secret = (await made(serving))["secret"].removeprefix("whsec_")
        await serving.http.post("/v1/subscriptions/alerts/test")
        rows = await serving.store.read(lambda connection: [*_subscriptions.rows(connection), *_owed.rows(connection)])

    assert len(rows) == 2
    assert secret not in repr(rows)
    assert base64.b64decode(secret) not in [value for row in rows for value in row]
