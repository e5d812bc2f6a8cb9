"""The tables of who may do what: workspaces, members with roles, API tokens, and requests that were made under an idempotency key."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, Text

from penstock.engine.tables import metadata

workspace = Table(
    "workspace",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("made_at", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    sqlite_with_rowid=False,
)

member = Table(
    "member",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("subject", String(255), primary_key=True, doc="Of a person, as the identity provider calls them, or `group:<name>`."),
    Column("role", String(12), nullable=False),
    Column("made_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

api_token = Table(
    "api_token",
    metadata,
    Column("digest", String(64), primary_key=True, doc="SHA-256 of the token in hex; the token itself is nowhere."),
    Column("token_id", String(26), nullable=False, unique=True),
    Column("workspace", String(63), nullable=False),
    Column("name", String(255), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("role", String(12), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("used_at", BigInteger),
    Column("revoked_at", BigInteger),
    Index("api_token_by_workspace", "workspace", "made_at"),
    sqlite_with_rowid=False,
)

kept_answer = Table(
    "kept_answer",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("principal", String(255), primary_key=True),
    Column("key", String(255), primary_key=True, doc="Of the Idempotency-Key header."),
    Column("request_digest", String(80), nullable=False),
    Column("status", Integer, nullable=False, doc="0 as long as somebody is at it."),
    Column("headers", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("kept_answer_by_time", "at"),
    sqlite_with_rowid=False,
)

audit = Table(
    "audit",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("audit_no", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("principal", Text, nullable=False),
    Column("action", String(128), nullable=False),
    Column("subject", Text, nullable=False),
    Column("outcome", String(12), nullable=False),
    Column("chain", String(64), nullable=False, doc="SHA-256 over this row and the one before."),
    sqlite_with_rowid=False,
)
