"""Plain messages become events by the mapping that was declared for them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ContractError, InvalidInput
from penstock.contracts.event_mappings import EventMapping
from penstock.engine.events.cloud_event_formats import checked_event
from penstock.engine.events.plain_json import json_of
from penstock.engine.triggers.expressions import compiled
from penstock.engine.triggers.scope import Scope
from penstock.transport.bus import Properties

MAPPING_HEADER = "penstock-mapping"
MESSAGE = "message"
_TEXTS = frozenset({"id", "source", "type", "time", "subject"})


@dataclass(frozen=True, slots=True)
class Mappings:
    """The mappings of each workspace, in the order of their names."""

    by_workspace: Mapping[str, Sequence[EventMapping]]

    def chosen(self, workspace: str, told: Properties) -> EventMapping | None:
        """The one that a message asks for or that is declared for messages like it; None if there is none.

        :raises ContractError: it asks for one that nobody declared.
        """
        declared = self.by_workspace.get(workspace, ())
        named = next((value for name, value in told.headers.items() if name.lower() == MAPPING_HEADER), None)
        if named is None:
            return next((mapping for mapping in declared if _is_for(mapping, told)), None)
        found = next((mapping for mapping in declared if mapping.name == named), None)
        if found is None:
            raise ContractError(f"the workspace {workspace!r} has no mapping {str(named)[:60]!r}: see `penstock events mappings ls`")
        return found


NO_MAPPINGS = Mappings({})


class MessageScope(Scope):
    """What a mapping's expressions see."""

    def __init__(self, message: Any) -> None:
        super().__init__([checked_event({"id": MESSAGE, "source": MESSAGE, "type": MESSAGE, "data": message})])

    @override
    def variables(self, names: Sequence[str]) -> dict[str, Any]:
        return {MESSAGE: self._plain[0]["data"]} if MESSAGE in names else {}


def check_mapping(mapping: EventMapping) -> None:
    """:raises InvalidInput: an expression is not CEL over `message`; the text says which and why."""
    for name, text in mapping.expressions.items():
        compiled(text, f"`{name}` of the mapping {mapping.name}", (MESSAGE,))


def mapped_event(mapping: EventMapping, body: bytes) -> CloudEvent:
    """:raises ContractError: an expression can't be evaluated over this message, or comes to what no event can have."""
    message = _message(body)
    scope = MessageScope(message)
    found: dict[str, Any] = {"id": digest_bytes(body), "data": message}
    for name, text in mapping.expressions.items():
        try:
            value = compiled(text, f"`{name}` of the mapping {mapping.name}", (MESSAGE,)).value(scope)
        except InvalidInput as error:
            raise ContractError(str(error)) from error
        found[name] = _as_text(value) if name in _TEXTS else value
    return checked_event({"datacontenttype": "application/json", **found})


def _message(body: bytes) -> Any:
    """JSON where it begins like JSON, else text."""
    if body.lstrip()[:1] in (b"{", b"["):
        return json_of(body, "the message")
    try:
        return json_of(body, "the message")
    except ContractError:
        return body.decode("utf-8", "replace")


def _as_text(value: Any) -> Any:
    """Numbers are names as good as any; they are not true or false."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _is_for(mapping: EventMapping, told: Properties) -> bool:
    if mapping.routing_key is None or (mapping.exchange is not None and mapping.exchange != told.exchange):
        return False
    return matches_key(mapping.routing_key, told.key)


def matches_key(pattern: str, key: str) -> bool:
    """As a topic exchange has it: `*` is one word, `#` any number of words, none included."""
    words = key.split(".") if key else []
    # Which of the pattern's words may come next; word by word, so that no pattern takes longer than it has words for each of the key's.
    wanted = pattern.split(".")
    places = _over_hashes({0}, wanted)
    for word in words:
        ahead = {place + 1 for place in places if place < len(wanted) and wanted[place] in ("*", word)}
        places = _over_hashes(ahead | {place for place in places if wanted[place : place + 1] == ["#"]}, wanted)
    return len(wanted) in places


def _over_hashes(places: set[int], wanted: list[str]) -> set[int]:
    """With those behind each `#`, which may be no word at all."""
    found = set(places)
    for place in range(len(wanted)):
        if place in found and wanted[place] == "#":
            found.add(place + 1)
    return found
