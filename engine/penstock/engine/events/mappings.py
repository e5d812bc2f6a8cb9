"""Declared mappings of plain messages, as rows."""

from sqlalchemy import Connection

from penstock.contracts.encoding import canonical
from penstock.contracts.event_mappings import EventMapping
from penstock.engine import ingest_tables
from penstock.engine.events.plain_messages import Mappings, check_mapping
from penstock.engine.statement import Statement

_put = Statement.insert(
    ingest_tables.event_mapping,
    otherwise="ON CONFLICT (workspace, name) DO UPDATE SET definition = excluded.definition, updated_at = excluded.updated_at, "
    "updated_by = excluded.updated_by",
)
_drop = Statement("DELETE FROM event_mapping WHERE workspace = :workspace AND name = :name")
_all = Statement("SELECT workspace, definition FROM event_mapping ORDER BY workspace, name")


def put_mapping(connection: Connection, workspace: str, mapping: EventMapping, by: str, now: int) -> None:
    """Declares it, in the place of what had its name.

    :raises InvalidInput: an expression in it can't be evaluated; the text says which.
    """
    check_mapping(mapping)
    definition = canonical(mapping.model_dump(exclude_none=True)).decode("utf-8", "replace")
    _put(connection, workspace=workspace, name=mapping.name, definition=definition, updated_at=now, updated_by=by)


def remove_mapping(connection: Connection, workspace: str, name: str) -> bool:
    """Whether there was one."""
    return _drop(connection, workspace=workspace, name=name) > 0


def all_mappings(connection: Connection) -> Mappings:
    """Those of every workspace: messages of all of them come by one queue."""
    found: dict[str, list[EventMapping]] = {}
    for workspace, definition in _all.rows(connection):
        found.setdefault(workspace, []).append(EventMapping.model_validate_json(definition))
    return Mappings(found)
