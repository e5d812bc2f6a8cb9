"""The tables of published pipelines and components."""

from sqlalchemy import BigInteger, Column, String, Table, Text

from penstock.engine.tables import metadata

published = Table(
    "published",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("family", String(12), primary_key=True, doc="pipeline or component"),
    Column("name", String(63), primary_key=True),
    Column("kind", String(12), nullable=False, doc="step or pipeline"),
    Column("default_version", String(63)),
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

published_version = Table(
    "published_version",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("family", String(12), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("version", String(63), primary_key=True),
    Column("spec_digest", String(80), nullable=False),
    Column("state", String(12), nullable=False),
    Column("note", Text, nullable=False),
    Column("triggers", Text, nullable=False, doc="A JSON list: the pipeline has them while the version is the default."),
    Column("trigger_state", String(12), nullable=False),
    Column("published_at", BigInteger, nullable=False),
    Column("published_by", Text, nullable=False),
    sqlite_with_rowid=False,
)

published_alias = Table(
    "published_alias",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("family", String(12), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("alias", String(63), primary_key=True),
    Column("version", String(63), nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
