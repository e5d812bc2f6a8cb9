"""The tables of events that go out: who wants them, and what is still owed."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, Text

from penstock.engine.tables import NUMBER, metadata

subscription = Table(
    "subscription",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("kind", String(8), nullable=False, doc="bus or webhook"),
    Column("types", Text, nullable=False, doc="Event types as a JSON list; `*` at the end of one stands for anything."),
    Column("pipeline", String(63), doc="NULL: of every pipeline."),
    Column("url", Text),
    Column("secret", LargeBinary, doc="Signs deliveries; encrypted with the services' signing key."),
    Column("rate_per_second", Integer),
    Column("state", String(8), nullable=False, doc="on, paused, or off after too many failures"),
    Column("error", Text),
    Column("made_at", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    sqlite_with_rowid=False,
)

owed_event = Table(
    "owed_event",
    metadata,
    Column("owed_no", NUMBER, primary_key=True, autoincrement=True),
    Column("workspace", String(63), nullable=False),
    Column("subscription", String(63), nullable=False),
    Column("body", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("error", Text),
    Column("state", String(8), nullable=False, doc="owed or dead"),
    Index("owed_due", "state", "due_at"),
)
