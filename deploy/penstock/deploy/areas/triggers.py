"""Triggers, as an engine's API answers about them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from penstock.contracts.event_views import DecisionView, Tried, TriggerView
from penstock.contracts.triggers import TriggerSpec, plain_trigger
from penstock.deploy.remote.connection import Connection


class Triggers:
    """The rules that turn events into runs.

    :raises InvalidInput: from each: there is no such trigger, or it can't be so.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> Sequence[TriggerView]:
        """By name."""
        return [TriggerView.model_validate(one) for one in self._connection.get("/triggers").json()["triggers"]]

    def show(self, name: str) -> TriggerView:
        return TriggerView.model_validate_json(self._connection.get(_path(name)).content)

    def apply(self, spec: TriggerSpec) -> TriggerView:
        """Declares it, or changes it; the same again is the same version."""
        return TriggerView.model_validate_json(self._connection.ask("PUT", _path(spec.name), json=plain_trigger(spec)).content)

    def remove(self, name: str) -> None:
        self._connection.ask("DELETE", _path(name), is_repeatable=False)

    def pause(self, name: str) -> TriggerView:
        return TriggerView.model_validate_json(self._connection.ask("POST", f"{_path(name)}/pause").content)

    def resume(self, name: str) -> TriggerView:
        return TriggerView.model_validate_json(self._connection.ask("POST", f"{_path(name)}/resume").content)

    def tell_of_existing(self, name: str) -> TriggerView:
        """Has data that is there already count as changed."""
        return TriggerView.model_validate_json(self._connection.ask("POST", f"{_path(name)}/existing").content)

    def decisions(self, name: str, outcome: str | None = None) -> Iterator[DecisionView]:
        """The newest first, page by page."""
        cursor: str | None = None
        while True:
            page = self._connection.get(f"{_path(name)}/decisions", outcome=outcome, cursor=cursor).json()
            yield from (DecisionView.model_validate(one) for one in page["decisions"])
            cursor = page["next"]
            if cursor is None:
                return

    def test(self, name: str, event: Mapping[str, Any] | int, spec: TriggerSpec | None = None) -> Tried:
        """What it would make of an event, in CloudEvents' JSON or by its number. Nothing is kept."""
        plain: dict[str, Any] = {"event_no": event} if isinstance(event, int) else {"event": dict(event)}
        if spec is not None:
            plain["spec"] = plain_trigger(spec)
        return Tried.model_validate_json(self._connection.ask("POST", f"{_path(name)}/test", json=plain).content)


def _path(name: str) -> str:
    return f"/triggers/{quote(name, safe='')}"
