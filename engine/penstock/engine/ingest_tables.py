"""The tables of what comes in: how plain messages become events, and messages that nobody could read."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, String, Table, Text

from penstock.engine.tables import NUMBER, metadata

event_mapping = Table(
    "event_mapping",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("name", String(127), primary_key=True),
    Column("definition", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", Text, nullable=False),
    sqlite_with_rowid=False,
)

event_refusal = Table(
    "event_refusal",
    metadata,
    Column("refusal_no", NUMBER, primary_key=True, autoincrement=True),
    Column("workspace", String(63), nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("properties", Text, nullable=False, doc="What came with the message, as JSON."),
    Column("body", LargeBinary, nullable=False),
    Index("refusal_by_workspace", "workspace", "refusal_no"),
    sqlite_autoincrement=True,
)
