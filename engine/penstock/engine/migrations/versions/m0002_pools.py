"""Pools with definitions: step runs and attempts take slots, attempts know their workspace, rates are kept in buckets.

What 0001 makes of an empty database is the newest schema; only tables that it made before that need this.
"""

import sqlalchemy as sa
from alembic import op

from penstock.engine.tables import bucket, pool

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    bind = op.get_bind()
    if sa.inspect(bind).has_table(pool.name):
        return
    op.drop_index("attempt_live", "attempt")
    op.add_column("attempt", sa.Column("workspace", sa.String(63), nullable=False, server_default="default"))
    op.execute("UPDATE attempt SET workspace = (SELECT r.workspace FROM run r WHERE r.run_no = attempt.run_no)")
    for table in ("attempt", "ready"):
        op.add_column(table, sa.Column("slots", sa.Integer, nullable=False, server_default="1"))
    live = sa.text("state IN ('dispatched', 'running')")
    op.create_index("attempt_live", "attempt", ["workspace", "pool", "run_no"], sqlite_where=live, postgresql_where=live)
    pool.create(bind)
    bucket.create(bind)
