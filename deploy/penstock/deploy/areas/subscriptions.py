"""Subscriptions to events, as an engine's API answers about them."""

from collections.abc import Iterator
from urllib.parse import quote

from penstock.contracts.subscriptions import CreatedSubscription, DeliveryView, SubscriptionRequest, SubscriptionView
from penstock.deploy.remote.connection import Connection


class Subscriptions:
    """Who hears of what happens to runs and steps.

    :raises InvalidInput: from each: there is no such subscription, or it can't be so.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> "list[SubscriptionView]":
        answer = self._connection.get("/subscriptions").json()
        return [SubscriptionView.model_validate(one) for one in answer["subscriptions"]]

    def show(self, name: str) -> SubscriptionView:
        return SubscriptionView.model_validate_json(self._connection.get(_path(name)).content)

    def create(self, request: SubscriptionRequest) -> CreatedSubscription:
        """Registers. The secret of a webhook is in this answer and nowhere else."""
        plain = request.model_dump(mode="json", exclude_none=True)
        answer = self._connection.ask("POST", "/subscriptions", json=plain, is_repeatable=False)
        return CreatedSubscription.model_validate_json(answer.content)

    def remove(self, name: str) -> None:
        self._connection.ask("DELETE", _path(name), is_repeatable=False)

    def pause(self, name: str) -> SubscriptionView:
        return SubscriptionView.model_validate_json(self._connection.ask("POST", f"{_path(name)}/pause").content)

    def resume(self, name: str) -> SubscriptionView:
        return SubscriptionView.model_validate_json(self._connection.ask("POST", f"{_path(name)}/resume").content)

    def rotate(self, name: str) -> CreatedSubscription:
        """Another secret; the one before signs too for a day."""
        return CreatedSubscription.model_validate_json(self._connection.ask("POST", f"{_path(name)}/rotate", is_repeatable=False).content)

    def test(self, name: str) -> None:
        """Has an event sent that tells of nothing."""
        self._connection.ask("POST", f"{_path(name)}/test", is_repeatable=False)

    def deliveries(self, name: str, state: str | None = None) -> Iterator[DeliveryView]:
        """Newest first, page by page."""
        cursor: str | None = None
        while True:
            page = self._connection.get(f"{_path(name)}/deliveries", state=state, cursor=cursor).json()
            yield from (DeliveryView.model_validate(one) for one in page["deliveries"])
            cursor = page["next"]
            if cursor is None:
                return

    def retry(self, name: str, delivery: int | None = None) -> int:
        """Has a delivery tried at once; None: each that was given up. How many."""
        place = f"{_path(name)}/deliveries" + ("" if delivery is None else f"/{delivery}")
        return int(self._connection.ask("POST", f"{place}/retry").json()["retried"])


def _path(name: str) -> str:
    return f"/subscriptions/{quote(name, safe='')}"
