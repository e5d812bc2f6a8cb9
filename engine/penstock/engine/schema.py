"""The whole schema: every table that a store has."""

from penstock.engine import access_tables, event_tables, ingest_tables, outgoing_tables, publishing_tables, registry_tables
from penstock.engine.tables import metadata

__all__ = ["access_tables", "event_tables", "ingest_tables", "metadata", "outgoing_tables", "publishing_tables", "registry_tables"]
