"""The tables of what people name and decide: named artifacts with aliases, approvals."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, String, Table, Text, text

from penstock.engine.tables import metadata

named_artifact = Table(
    "named_artifact",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("value", LargeBinary, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("run_no", BigInteger, doc="Of the run that registered it; NULL: somebody did by hand."),
    Column("made_at", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    sqlite_with_rowid=False,
)

artifact_alias = Table(
    "artifact_alias",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("alias", String(63), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("moved_at", BigInteger, nullable=False),
    Column("moved_by", Text, nullable=False),
    sqlite_with_rowid=False,
)

approval = Table(
    "approval",
    metadata,
    Column("run_no", BigInteger, primary_key=True, autoincrement=False),
    Column("node", BigInteger, primary_key=True, autoincrement=False),
    Column("item", BigInteger, primary_key=True, autoincrement=False),
    Column("workspace", String(63), nullable=False),
    Column("question", Text, nullable=False),
    Column("approvers", Text, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("state", String(12), nullable=False, doc="open, approved, rejected, expired or withdrawn"),
    Column("asked_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("decided_at", BigInteger),
    Column("decided_by", Text),
    Column("comment", Text),
    Index("approval_open", "workspace", sqlite_where=text("state = 'open'"), postgresql_where=text("state = 'open'")),
    sqlite_with_rowid=False,
)
