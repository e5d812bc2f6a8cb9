"""Events, triggers, published pipelines, named artifacts, approvals, tokens, subscriptions.

What 0001 makes of an empty database is the newest schema: only tables that are missing are made.
"""

from alembic import op

from penstock.engine.schema import metadata

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=True)
