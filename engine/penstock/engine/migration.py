"""Brings a store's schema up to date. Alembic is imported only where there is something to do: it costs as much as the rest of a start."""

import importlib
from pathlib import Path

from sqlalchemy import Connection, inspect

from penstock.contracts.errors import StateTooNew

NEWEST = "0003"
_FOLDER = Path(__file__).parent / "migrations"


def version_of(connection: Connection) -> str | None:
    """The schema's revision; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").fetchone()
    return row[0] if row else None


def migrate(connection: Connection, place: str) -> bool:
    """Applies the missing migrations; whether there were any. `place` names the store in errors.

    :raises StateTooNew: the schema is newer than this Penstock.
    """
    version = version_of(connection)
    if version == NEWEST:
        return False
    if version is not None and version > NEWEST:
        raise StateTooNew(
            f"{place} was written by a newer Penstock (schema {version}; this one knows {NEWEST}): upgrade with "
            "`pip install --upgrade penstock`, or use another state folder through PENSTOCK_HOME"
        )
    command = importlib.import_module("alembic.command")
    config = importlib.import_module("alembic.config").Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_FOLDER))
    command.upgrade(config, "head")
    return True
