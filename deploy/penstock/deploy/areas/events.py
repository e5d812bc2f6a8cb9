"""Events from outside, as an engine's API answers about them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from penstock.contracts.event_mappings import EventMapping
from penstock.contracts.event_views import EventView, HeldView, RefusalView
from penstock.deploy.remote.connection import Connection


class Events:
    """What came in, and what became of it.

    :raises InvalidInput: from each: there is no such event, or it can't be so.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def emit(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """Sends an event in CloudEvents' JSON: its number, and whether it was known. The same again changes nothing."""
        found: Mapping[str, Any] = self._connection.ask("POST", "/events", json=event).json()["events"][0]
        return found

    def list(
        self,
        *,
        kind: str | None = None,
        source: str | None = None,
        state: str | None = None,
        since: int | None = None,
    ) -> Iterator[EventView]:
        """The newest first, page by page. `kind` is a type, which may end in `*`."""
        for one in self._pages("/events", "events", type=kind, source=source, state=state, since=since):
            yield EventView.model_validate(one)

    def show(self, event_no: int) -> EventView:
        """With the whole event and every decision."""
        return EventView.model_validate_json(self._connection.get(f"/events/{event_no}").content)

    def held(self, trigger: str | None = None) -> Sequence[HeldView]:
        """What triggers hold, or one of them."""
        path = "/events/held" if trigger is None else f"/triggers/{quote(trigger, safe='')}/held"
        return [HeldView.model_validate(one) for one in self._connection.get(path).json()["held"]]

    def replay(self, event_no: int) -> EventView:
        """Has every trigger decide it once more."""
        return EventView.model_validate_json(self._connection.ask("POST", f"/events/{event_no}/replay", is_repeatable=False).content)

    def retry(self, event_no: int) -> EventView:
        """Has what failed of it tried again."""
        return EventView.model_validate_json(self._connection.ask("POST", f"/events/{event_no}/retry", is_repeatable=False).content)

    def refused(self) -> Iterator[RefusalView]:
        """Messages that nobody could read, the newest first."""
        for one in self._pages("/events/refused", "refused"):
            yield RefusalView.model_validate(one)

    def read_again(self, refusal_no: int) -> Sequence[int]:
        """The numbers of the events that a refused message is, now that it can be read."""
        answer = self._connection.ask("POST", f"/events/refused/{refusal_no}/retry", is_repeatable=False)
        return [int(number) for number in answer.json()["event_nos"]]

    def forget_refused(self, refusal_no: int) -> None:
        self._connection.ask("DELETE", f"/events/refused/{refusal_no}", is_repeatable=False)

    def mappings(self) -> Sequence[EventMapping]:
        """How plain messages become events."""
        return [EventMapping.model_validate(one) for one in self._connection.get("/events/mappings").json()["mappings"]]

    def declare_mapping(self, mapping: EventMapping) -> None:
        plain = mapping.model_dump(mode="json", exclude_none=True)
        self._connection.ask("PUT", f"/events/mappings/{quote(mapping.name, safe='')}", json=plain)

    def forget_mapping(self, name: str) -> None:
        self._connection.ask("DELETE", f"/events/mappings/{quote(name, safe='')}", is_repeatable=False)

    def _pages(self, path: str, name: str, **parameters: Any) -> Iterator[Any]:
        cursor: str | None = None
        while True:
            page = self._connection.get(path, cursor=cursor, **parameters).json()
            yield from page[name]
            cursor = page["next"]
            if cursor is None:
                return
