"""Events, triggers, published pipelines, named artifacts, approvals, tokens, subscriptions; and numbers of runs that SQLite gives once.

What 0001 makes of an empty database is the newest schema: only tables that are missing are made.
"""

import sqlalchemy as sa
from alembic import op

from penstock.engine.schema import metadata
from penstock.engine.tables import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name == "sqlite" and "AUTOINCREMENT" not in _definition(bind):
        _number_runs_once(bind)
    metadata.create_all(bind, checkfirst=True)


def _definition(bind: sa.Connection) -> str:
    return str(bind.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'run'").scalar())


def _number_runs_once(bind: sa.Connection) -> None:
    """SQLite can't change how a table numbers its rows: they go to a new one."""
    op.rename_table("run", "run_before")
    for index in sorted(filter(None, (index.name for index in run.indexes))):
        op.drop_index(index)
    run.create(bind)
    names = ", ".join(f'"{column.name}"' for column in run.columns)
    bind.exec_driver_sql(f"INSERT INTO run ({names}) SELECT {names} FROM run_before")  # noqa: S608 - names of our own columns
    op.drop_table("run_before")
