"""Subscriptions to outgoing events over HTTP: to the bus, and to webhooks, with their deliveries."""

import secrets
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from penstock.contracts.cloud_events import CloudEvent, encode_cloud_event
from penstock.contracts.errors import InvalidInput
from penstock.contracts.events import timestamp
from penstock.contracts.subscriptions import CreatedSubscription, DeliveryState, DeliveryView, SubscriptionRequest, SubscriptionView
from penstock.engine.api.pages import PAGE, Cursor, Limit, page, place_of
from penstock.engine.api.problems import NotFound
from penstock.engine.api.services import Services, Serving, answer, answer_all, body_of, json_answer, now, read_body
from penstock.engine.outgoing.composing import Outgoing
from penstock.engine.outgoing.subscriptions import (
    UnknownSubscription,
    deliveries,
    generation_of,
    list_subscriptions,
    owe_test,
    retry,
    rotate_secret,
    set_subscription_state,
    subscribe,
    subscription,
    unsubscribe,
)
from penstock.engine.outgoing.webhook_addresses import check_url
from penstock.engine.outgoing.webhooks import secret_of, shown

router = APIRouter(tags=["subscriptions"])

T = TypeVar("T")
TEST_TYPE = "penstock.webhook.test"
Name = Annotated[str, Path(max_length=63, pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Delivery = Annotated[int, Path(ge=1, le=2**62)]


class Subscriptions(BaseModel):
    subscriptions: tuple[SubscriptionView, ...]


class Deliveries(BaseModel):
    deliveries: tuple[DeliveryView, ...]
    next: str | None = None


class Retried(BaseModel):
    """How many deliveries are tried again."""

    retried: int


@router.get("/subscriptions", response_model=Subscriptions, summary="Who hears of what happens to runs and steps")
async def list_all(services: Serving) -> Response:
    return answer_all("subscriptions", await services.read(lambda connection: list_subscriptions(connection, services.workspace)))


@router.post(
    "/subscriptions",
    status_code=201,
    response_model=CreatedSubscription,
    openapi_extra=body_of(SubscriptionRequest),
    summary="Register for events",
)
async def create(request: Request, services: Serving) -> Response:
    """It hears of what happens from now on. The secret of a webhook is shown in this answer and nowhere else."""
    asked = await read_body(request, SubscriptionRequest)
    if asked.url is not None:
        check_url(asked.url, services.settings.webhooks_allowed)
        _key(services)

    def function(connection: Connection) -> Response:
        made = subscribe(connection, services.workspace, asked, services.principal.name, now())
        return _with_secret(connection, services, made, 201)

    return await services.write(function)


@router.get("/subscriptions/{name}", response_model=SubscriptionView, summary="A subscription")
async def show(name: Name, services: Serving) -> Response:
    return answer(await _found(services, lambda connection: subscription(connection, services.workspace, name), is_reading=True))


@router.delete("/subscriptions/{name}", status_code=204, summary="Hear no more; what is owed goes nowhere")
async def remove(name: Name, services: Serving) -> Response:
    await _found(services, lambda connection: unsubscribe(connection, services.workspace, name))
    return Response(status_code=204)


@router.post("/subscriptions/{name}/pause", response_model=SubscriptionView, summary="Keep what happens, and deliver nothing")
async def pause(name: Name, services: Serving) -> Response:
    return answer(await _found(services, lambda connection: set_subscription_state(connection, services.workspace, name, is_on=False)))


@router.post("/subscriptions/{name}/resume", response_model=SubscriptionView, summary="Deliver again")
async def resume(name: Name, services: Serving) -> Response:
    """What was kept meanwhile is delivered. One that its receiver turned off is on again; its dead deliveries stay dead until retried."""
    return answer(await _found(services, lambda connection: set_subscription_state(connection, services.workspace, name, is_on=True)))


@router.post("/subscriptions/{name}/rotate", response_model=CreatedSubscription, summary="Another secret")
async def rotate(name: Name, services: Serving) -> Response:
    """Deliveries are signed with both for a day. The new secret is shown in this answer and nowhere else."""
    _key(services)

    def function(connection: Connection) -> Response:
        return _with_secret(connection, services, rotate_secret(connection, services.workspace, name, now()), 200)

    return await _found(services, function)


@router.post("/subscriptions/{name}/test", status_code=202, summary="Have an event sent that tells of nothing")
async def test(name: Name, services: Serving) -> Response:
    """What becomes of it is among the deliveries."""
    await _found(services, lambda connection: owe_test(connection, services.workspace, name, _test_event(services, name), now()))
    return Response(status_code=202)


@router.get("/subscriptions/{name}/deliveries", response_model=Deliveries, summary="Deliveries to a webhook, newest first")
async def list_deliveries(
    name: Name,
    services: Serving,
    state: Annotated[DeliveryState | None, Query(description="Only those that are so.")] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Response:
    """Those that arrived are kept for a day, those that were given up for a month."""
    place = place_of(cursor, int)
    before = None if place is None else int(place[0])
    found = await _found(
        services,
        lambda connection: deliveries(connection, services.workspace, name, state or "", before, limit + 1),
        is_reading=True,
    )
    return page("deliveries", [((view.delivery_no,), view) for view in found], limit)


@router.post("/subscriptions/{name}/deliveries/retry", response_model=Retried, summary="Try all again that were given up")
async def retry_dead(name: Name, services: Serving) -> Response:
    count = await _found(services, lambda connection: retry(connection, services.workspace, name, None, now()))
    return json_answer({"retried": count})


@router.post("/subscriptions/{name}/deliveries/{delivery}/retry", response_model=Retried, summary="Try a delivery again, at once")
async def retry_one(name: Name, delivery: Delivery, services: Serving) -> Response:
    count = await _found(services, lambda connection: retry(connection, services.workspace, name, delivery, now()))
    return json_answer({"retried": count})


async def _found(services: Services, function: Callable[[Connection], T], *, is_reading: bool = False) -> T:
    """:raises NotFound: there is no such subscription or delivery."""
    try:
        return await (services.read(function) if is_reading else services.write(function))
    except UnknownSubscription as error:
        raise NotFound(str(error)) from error


def _key(services: Services) -> bytes:
    key = services.settings.signing_key
    if key is None:
        raise InvalidInput(
            "this API has no signing key, from which secrets of webhooks follow: give it the PENSTOCK_SIGNING_KEY that coordinators have"
        )
    return key


def _with_secret(connection: Connection, services: Services, view: SubscriptionView, status: int) -> Response:
    secret = None
    if view.kind == "webhook":
        secret = shown(secret_of(_key(services), services.workspace, view.name, generation_of(connection, services.workspace, view.name)))
    return answer(CreatedSubscription(**view.model_dump(), secret=secret), status)


def _test_event(services: Services, name: str) -> Outgoing:
    source = f"/penstock/{services.workspace}"
    identity = f"test/{secrets.token_hex(8)}"
    data = {"subscription": name, "asked_by": services.principal.name}
    event = CloudEvent(id=identity, source=source, type=TEST_TYPE, time=timestamp(now()), datacontenttype="application/json", data=data)
    return Outgoing(event_id=identity, type=TEST_TYPE, source=source, topic="", body=encode_cloud_event(event).decode())
