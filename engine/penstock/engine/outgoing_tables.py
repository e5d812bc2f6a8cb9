"""The tables of events that go out: who wants them, and what is still owed."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text, text

from penstock.engine.tables import NUMBER, metadata

subscription = Table(
    "subscription",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("kind", String(8), nullable=False, doc="bus or webhook"),
    Column("types", Text, nullable=False, doc="Event types as a JSON list; `*` at the end of one stands for anything."),
    Column("pipeline", String(255), doc="NULL: of every pipeline."),
    Column("url", Text),
    Column("generation", BigInteger, nullable=False, doc="Of the secret, which follows from it and the signing key; itself it is nowhere."),
    Column("former_generation", BigInteger, doc="Signs too until `former_until`: receivers have time to take the new secret over."),
    Column("former_until", BigInteger),
    Column("rate_per_second", Integer),
    Column("state", String(8), nullable=False, doc="on, paused, or off since the receiver wants no more"),
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
    Column("subscription", String(63), nullable=False, doc="Empty: the bus, where it goes once however many want it."),
    Column("message_id", String(80), nullable=False, doc="Follows from the event and the subscription."),
    Column("event_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(12), nullable=False, doc="owed, delivered or dead"),
    Column("tries", Integer, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("give_up_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("status", Integer),
    Column("error", Text),
    Index("owed_due", "subscription", "due_at", sqlite_where=text("state = 'owed'"), postgresql_where=text("state = 'owed'")),
    Index("owed_by_subscription", "workspace", "subscription", "owed_no"),
    Index("owed_ended", "ended_at", sqlite_where=text("ended_at IS NOT NULL"), postgresql_where=text("ended_at IS NOT NULL")),
    sqlite_autoincrement=True,
)
