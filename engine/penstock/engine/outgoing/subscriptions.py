"""Subscriptions as people keep them: made, paused, looked at, with the deliveries of each."""

import json
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.errors import InvalidInput
from penstock.contracts.subscriptions import DeliveryView, SubscriptionRequest, SubscriptionView
from penstock.engine.outgoing.composing import GIVE_UP_MICROSECONDS, Outgoing, owed_row, put_owed
from penstock.engine.statement import Statement

SECRETS_OVERLAP_MICROSECONDS = 24 * 3600 * 1_000_000
"""So long the secret before signs too."""
_VIEW = (
    "s.name, s.kind, s.types, s.pipeline, s.url, s.rate_per_second, s.state, s.error, s.made_at, s.made_by, "
    "(SELECT count(*) FROM owed_event o WHERE o.workspace = s.workspace AND o.subscription = s.name AND o.state = 'owed'), "
    "(SELECT count(*) FROM owed_event o WHERE o.workspace = s.workspace AND o.subscription = s.name AND o.state = 'dead')"
)
_all = Statement(f"SELECT {_VIEW} FROM subscription s WHERE s.workspace = :workspace ORDER BY s.name")  # noqa: S608 - constants
_one = Statement(f"SELECT {_VIEW} FROM subscription s WHERE s.workspace = :workspace AND s.name = :name")  # noqa: S608 - constants
_insert = Statement(
    "INSERT INTO subscription (workspace, name, kind, types, pipeline, url, generation, rate_per_second, state, made_at, made_by) "
    "VALUES (:workspace, :name, :kind, :types, :pipeline, :url, :now, :rate_per_second, 'on', :now, :made_by) "
    "ON CONFLICT (workspace, name) DO NOTHING"
)
_set_state = Statement("UPDATE subscription SET state = :state, error = NULL WHERE workspace = :workspace AND name = :name")
_rotate = Statement(
    "UPDATE subscription SET former_generation = generation, former_until = :until, generation = :generation "
    "WHERE workspace = :workspace AND name = :name AND kind = 'webhook'"
)
_generation = Statement("SELECT generation FROM subscription WHERE workspace = :workspace AND name = :name AND kind = 'webhook'")
_delete = Statement("DELETE FROM subscription WHERE workspace = :workspace AND name = :name")
_forget_owed = Statement("DELETE FROM owed_event WHERE workspace = :workspace AND subscription = :name")
_deliveries = Statement(
    'SELECT owed_no, subscription, message_id, event_id, "type", state, tries, made_at, due_at, ended_at, status, error FROM owed_event '
    "WHERE workspace = :workspace AND subscription = :name AND owed_no < :before "
    "AND (CAST(:state AS TEXT) = '' OR state = CAST(:state AS TEXT)) ORDER BY owed_no DESC LIMIT :count"
)
_retry = Statement(
    "UPDATE owed_event SET state = 'owed', tries = 0, due_at = :now, give_up_at = :give_up_at, ended_at = NULL "
    "WHERE workspace = :workspace AND subscription = :name AND owed_no = :number AND state <> 'delivered'"
)
_retry_dead = Statement(
    "UPDATE owed_event SET state = 'owed', tries = 0, due_at = :now, give_up_at = :give_up_at, ended_at = NULL "
    "WHERE workspace = :workspace AND subscription = :name AND state = 'dead'"
)


class UnknownSubscription(InvalidInput):
    """There is no such subscription, or none of its deliveries has that number."""


def list_subscriptions(connection: Connection, workspace: str) -> list[SubscriptionView]:
    """Those of a workspace, by name."""
    return [_view(row) for row in _all.rows(connection, workspace=workspace)]


def subscription(connection: Connection, workspace: str, name: str) -> SubscriptionView:
    """:raises UnknownSubscription: there is none of that name."""
    row = _one.first(connection, workspace=workspace, name=name)
    if row is None:
        raise UnknownSubscription(f"there is no subscription {name[:80]!r}")
    return _view(row)


def subscribe(connection: Connection, workspace: str, request: SubscriptionRequest, made_by: str, now: int) -> SubscriptionView:
    """Makes a subscription, which hears of what happens from now on.

    :raises InvalidInput: there is one of that name.
    """
    is_new = _insert(
        connection,
        workspace=workspace,
        name=request.name,
        kind=request.kind,
        types=json.dumps(list(dict.fromkeys(request.types))),
        pipeline=request.pipeline,
        url=request.url,
        rate_per_second=request.rate_per_second,
        made_by=made_by,
        now=now,
    )
    if not is_new:
        raise InvalidInput(f"there is a subscription {request.name!r}: remove it first, or choose another name")
    return subscription(connection, workspace, request.name)


def unsubscribe(connection: Connection, workspace: str, name: str) -> None:
    """Forgets a subscription with its deliveries; what is owed to it goes nowhere.

    :raises UnknownSubscription: there is none of that name.
    """
    subscription(connection, workspace, name)
    _delete(connection, workspace=workspace, name=name)
    _forget_owed(connection, workspace=workspace, name=name)


def set_subscription_state(connection: Connection, workspace: str, name: str, *, is_on: bool) -> SubscriptionView:
    """Paused, what happens stays owed; on again, it is delivered.

    :raises UnknownSubscription: there is none of that name.
    """
    _set_state(connection, workspace=workspace, name=name, state="on" if is_on else "paused")
    return subscription(connection, workspace, name)


def rotate_secret(connection: Connection, workspace: str, name: str, now: int) -> SubscriptionView:
    """Another secret; the one before signs too for a day.

    :raises UnknownSubscription: there is no webhook of that name.
    """
    before = generation_of(connection, workspace, name)
    generation = max(now, before + 1)
    _rotate(connection, workspace=workspace, name=name, generation=generation, until=now + SECRETS_OVERLAP_MICROSECONDS)
    return subscription(connection, workspace, name)


def generation_of(connection: Connection, workspace: str, name: str) -> int:
    """That of a webhook's secret.

    :raises UnknownSubscription: there is no webhook of that name.
    """
    row = _generation.first(connection, workspace=workspace, name=name)
    if row is None:
        raise UnknownSubscription(f"there is no webhook {name[:80]!r}: a subscription on the bus has neither secret nor deliveries")
    return int(row[0])


def deliveries(connection: Connection, workspace: str, name: str, state: str, before: int | None, count: int) -> list[DeliveryView]:
    """The newest that are older than the one numbered `before`; `state` empty: of any.

    :raises UnknownSubscription: there is no subscription of that name.
    """
    subscription(connection, workspace, name)
    last = 2**62 if before is None else before
    rows = _deliveries.rows(connection, workspace=workspace, name=name, state=state, before=last, count=count)
    return [_delivery(row) for row in rows]


def retry(connection: Connection, workspace: str, name: str, number: int | None, now: int) -> int:
    """Has a delivery tried at once, for another day; None: each that was given up. How many.

    :raises UnknownSubscription: there is no such delivery, or it has arrived.
    """
    subscription(connection, workspace, name)
    values: dict[str, Any] = {"workspace": workspace, "name": name, "now": now, "give_up_at": now + GIVE_UP_MICROSECONDS}
    if number is None:
        return _retry_dead(connection, **values)
    if not _retry(connection, **values, number=number):
        raise UnknownSubscription(f"the subscription {name} has no delivery {number} that could be tried again")
    return 1


def owe_test(connection: Connection, workspace: str, name: str, event: Outgoing, now: int) -> None:
    """Owes an event to a webhook, whatever types it wants.

    :raises UnknownSubscription: there is no webhook of that name.
    """
    generation_of(connection, workspace, name)
    put_owed(connection, owed_row(workspace, name, event, now))


def _view(row: tuple[Any, ...]) -> SubscriptionView:
    names = ("name", "kind", "types", "pipeline", "url", "rate_per_second", "state", "error", "made_at", "made_by", "owed", "dead")
    return SubscriptionView(**{**dict(zip(names, row, strict=True)), "types": json.loads(row[2])})


def _delivery(row: tuple[Any, ...]) -> DeliveryView:
    names = (
        *("delivery_no", "subscription", "message_id", "event_id", "type", "state"),
        *("tries", "made_at", "due_at", "ended_at", "status", "error"),
    )
    return DeliveryView(**dict(zip(names, row, strict=True)))
