"""Messages that nobody could read are kept with the reason, so that what was sent before its mapping was declared is not lost."""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.cloud_events import ReceivedEvent
from penstock.contracts.errors import ContractError
from penstock.contracts.event_views import RefusalView
from penstock.contracts.messages import clean_text
from penstock.engine.events.intake import Stored, store_events
from penstock.engine.events.mappings import all_mappings
from penstock.engine.events.received import RECEIVED_LIMIT, received, workspace_of
from penstock.engine.statement import Statement
from penstock.transport.bus import Delivery, Exchange, Properties

KEPT = 1000
"""Of each workspace; then the oldest goes."""
_SHOWN = 2000
_insert = Statement(
    "INSERT INTO event_refusal (workspace, received_at, reason, properties, body) "
    "VALUES (:workspace, :received_at, :reason, :properties, :body)"
)
_trim = Statement(
    "DELETE FROM event_refusal WHERE workspace = :workspace AND refusal_no <= "
    "(SELECT refusal_no FROM event_refusal WHERE workspace = :same ORDER BY refusal_no DESC LIMIT 1 OFFSET :kept)"
)
_COLUMNS = "refusal_no, received_at, reason, properties, body"
_list = Statement(
    f"SELECT {_COLUMNS} FROM event_refusal WHERE workspace = :workspace AND refusal_no < :before "  # noqa: S608 - constants
    "ORDER BY refusal_no DESC LIMIT :most"
)
_one = Statement(f"SELECT {_COLUMNS} FROM event_refusal WHERE workspace = :workspace AND refusal_no = :refusal_no")  # noqa: S608 - constants
_drop = Statement("DELETE FROM event_refusal WHERE workspace = :workspace AND refusal_no = :refusal_no")


@dataclass(frozen=True, slots=True)
class _Again:
    """A message that was kept, as if it came again."""

    body: bytes
    properties: Properties
    redelivered: bool = True

    async def acknowledge(self) -> None:
        """The row is what there is to be done with."""

    async def give_back(self) -> None:
        """It stays."""

    async def refuse(self) -> None:
        """It stays."""


def keep_refused(connection: Connection, refused: Sequence[tuple[Delivery, str]], now_us: int, default_workspace: str) -> None:
    """Keeps deliveries with the reason why nobody could read each; of a message over the limit, its beginning."""
    workspaces: set[str] = set()
    for delivery, reason in refused:
        told = delivery.properties
        workspace = workspace_of(told, default_workspace)
        workspaces.add(workspace)
        body = delivery.body if len(delivery.body) <= RECEIVED_LIMIT else delivery.body[:_SHOWN]
        properties = json.dumps(asdict(told) | {"headers": dict(told.headers)}, default=_encoded)
        _insert(connection, workspace=workspace, received_at=now_us, reason=clean_text(reason, _SHOWN), properties=properties, body=body)
    for workspace in workspaces:
        _trim(connection, workspace=workspace, same=workspace, kept=KEPT)


def keep_dead_event(connection: Connection, delivery: Delivery, reason: str, now_us: int, default_workspace: str) -> None:
    """Keeps a dead letter as the message that it was when it came."""
    told = delivery.properties
    came = replace(told, exchange=str(told.headers.get("x-first-death-exchange") or Exchange.INGEST.value))
    keep_refused(connection, [(_Again(delivery.body, came), reason)], now_us, default_workspace)


def refusals(connection: Connection, workspace: str, before: int, most: int) -> list[RefusalView]:
    """The newest first."""
    return [_view(row) for row in _list.rows(connection, workspace=workspace, before=before, most=most)]


def try_again(connection: Connection, workspace: str, refusal_no: int, now_us: int) -> list[Stored] | None:
    """Reads one again and keeps what it says; None if there is none of that number.

    :raises ContractError: it still can't be read.
    """
    row = _one.first(connection, workspace=workspace, refusal_no=refusal_no)
    if row is None:
        return None
    told = _properties(row[3])
    events = received(_Again(bytes(row[4]), told), now_us, workspace, all_mappings(connection))
    if any(event.workspace != workspace for event in events):
        raise ContractError(f"the message is for another workspace than {workspace}")
    stored = store_events(connection, _as_they_came(events, row[1]))
    _drop(connection, workspace=workspace, refusal_no=refusal_no)
    return stored


def drop_refusal(connection: Connection, workspace: str, refusal_no: int) -> bool:
    """Whether there was one."""
    return _drop(connection, workspace=workspace, refusal_no=refusal_no) > 0


def _as_they_came(events: Sequence[ReceivedEvent], received_at: int) -> list[ReceivedEvent]:
    return [event.model_copy(update={"received_at": received_at}) for event in events]


def _view(row: tuple[Any, ...]) -> RefusalView:
    told, body = _properties(row[3]), bytes(row[4])
    return RefusalView(
        refusal_no=row[0],
        received_at=row[1],
        reason=row[2],
        content_type=told.content_type,
        exchange=told.exchange,
        key=told.key,
        sender=told.user_id,
        size=len(body),
        body=clean_text(body[:_SHOWN].decode("utf-8", "replace")),
    )


def _properties(text: str) -> Properties:
    return Properties(**json.loads(text, object_hook=_decoded))


def _encoded(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else str(value)


def _decoded(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if value.keys() == {"base64"} and isinstance(value["base64"], str) else value
