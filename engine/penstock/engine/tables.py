"""The tables, for SQLite and PostgreSQL alike. Times are microseconds since 1970 UTC; values are packed bytes.

Workspace is the first column of what people own. Everything inside a run is keyed by the run's number.
"""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text, UniqueConstraint, text

metadata = MetaData()

# SQLite numbers rows by itself only where the key is exactly INTEGER.
NUMBER = BigInteger().with_variant(Integer, "sqlite")


def _key(name: str) -> Column[int]:
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


def _some(name: str, *columns: str, where: str) -> Index:
    """An index on those rows only."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


spec = Table(
    "spec",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("digest", String(80), primary_key=True),
    Column("bytes", LargeBinary, nullable=False),
)

run = Table(
    "run",
    metadata,
    Column("run_no", NUMBER, primary_key=True, autoincrement=True),
    Column("workspace", String(63), nullable=False),
    Column("run_id", String(63), nullable=False),
    Column("pipeline", String(255), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("experiment", Text),
    Column("spec_digest", String(80), nullable=False),
    Column("state", String(16), nullable=False),
    Column("params", LargeBinary, nullable=False),
    Column("options", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("owner", String(64)),
    Column("open", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("stop", String(16)),
    Column("error", Text),
    Column("outputs", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    UniqueConstraint("workspace", "run_id"),
    Index("run_by_pipeline", "workspace", "pipeline", "number"),
    _some("run_live", "owner", where="ended_at IS NULL"),
    # The number of a run that was removed is no other run's: somebody may still work for it.
    sqlite_autoincrement=True,
)

step_run = Table(
    "step_run",
    metadata,
    _key("run_no"),
    _key("node"),
    _key("item"),
    Column("parent_item", BigInteger, nullable=False),
    Column("state", String(12), nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("flags", Integer, nullable=False),
    # 1 where the step run needs something done that no report will bring: SQLite uses a partial index for plain conditions only.
    Column("due", Integer, nullable=False),
    Column("key", String(64)),
    Column("inputs", LargeBinary),
    Column("outputs", LargeBinary),
    Column("hit_run", BigInteger),
    Column("hit_at", BigInteger),
    Column("reason", Text),
    Column("failure", LargeBinary),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    _some("step_run_due", "run_no", where="due = 1"),
    _some("step_run_parked", "key", where="state = 'parked'"),
    sqlite_with_rowid=False,
)

step_group = Table(
    "step_group",
    metadata,
    _key("run_no"),
    _key("node"),
    _key("parent_item"),
    Column("base", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("remaining", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

fan_item = Table(
    "fan_item",
    metadata,
    _key("run_no"),
    _key("each_node"),
    _key("item"),
    Column("parent_item", BigInteger, nullable=False),
    Column("path", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

fan_counter = Table(
    "fan_counter",
    metadata,
    _key("run_no"),
    _key("each_node"),
    Column("next_item", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

_LIVE = "state IN ('dispatched', 'running')"

attempt = Table(
    "attempt",
    metadata,
    _key("run_no"),
    _key("node"),
    _key("item"),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", String(12), nullable=False),
    Column("workspace", String(63), nullable=False, doc="Of its run: what lives in a pool of a workspace is counted again and again."),
    Column("pool", String(255), nullable=False),
    Column("slots", Integer, nullable=False),
    Column("incarnation", String(64), nullable=False),
    Column("runner", String(255), nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("sent_at", BigInteger),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("failure", LargeBinary),
    Column("log", LargeBinary),
    Column("seconds", Float, nullable=False),
    Column("cpu_seconds", Float, nullable=False),
    Column("peak_memory", BigInteger, nullable=False),
    _some("attempt_live", "workspace", "pool", "run_no", where=_LIVE),
    sqlite_with_rowid=False,
)

ready = Table(
    "ready",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("pool", String(255), primary_key=True),
    Column("urgency", Integer, primary_key=True, autoincrement=False),
    Column("fair", BigInteger, primary_key=True, autoincrement=False),
    _key("run_no"),
    _key("node"),
    _key("item"),
    Column("since", BigInteger, nullable=False),
    Column("slots", Integer, nullable=False),
    Index("ready_by_run", "run_no", "node", "item"),
    sqlite_with_rowid=False,
)

pool = Table(
    "pool",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("definition", Text, nullable=False),
    Column("is_draining", Integer, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

bucket = Table(
    "bucket",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("pool", String(63), primary_key=True),
    Column("name", Text, primary_key=True, doc="Of the limit, and of the tag's value where it is about one."),
    Column("tokens", Float, nullable=False),
    Column("at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

fair_share = Table(
    "fair_share",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("pool", String(255), primary_key=True),
    _key("run_no"),
    Column("tag", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

timer = Table(
    "timer",
    metadata,
    _key("run_no"),
    Column("kind", String(16), primary_key=True),
    _key("node"),
    _key("item"),
    Column("fire_at", BigInteger, nullable=False),
    Index("timer_by_time", "fire_at"),
    sqlite_with_rowid=False,
)

cache_entry = Table(
    "cache_entry",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("outputs", LargeBinary, nullable=False),
    Column("run_no", BigInteger, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("checked_at", BigInteger, nullable=False),
    Column("node", BigInteger, nullable=False),
    Column("item", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    sqlite_with_rowid=False,
)

flight = Table(
    "flight",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("run_no", BigInteger, nullable=False),
    Column("node", BigInteger, nullable=False),
    Column("item", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

artifact = Table(
    "artifact",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("digest", String(80), primary_key=True),
    Column("kind", String(12), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("state", String(12), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

artifact_use = Table(
    "artifact_use",
    metadata,
    Column("digest", String(80), primary_key=True),
    _key("run_no"),
    _key("node"),
    _key("item"),
    Column("role", String(255), primary_key=True),
    Index("artifact_use_by_run", "run_no"),
    sqlite_with_rowid=False,
)

metric = Table(
    "metric",
    metadata,
    _key("run_no"),
    _key("node"),
    _key("item"),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", String(255), nullable=False),
    Column("step", BigInteger),
    Column("value", Float, doc="NULL is NaN, which SQLite does not keep."),
    sqlite_with_rowid=False,
)

attachment = Table(
    "attachment",
    metadata,
    _key("run_no"),
    _key("node"),
    _key("item"),
    Column("name", String(255), primary_key=True),
    Column("ref", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

timeline = Table(
    "timeline",
    metadata,
    _key("run_no"),
    _key("seq"),
    Column("at", BigInteger, nullable=False),
    Column("type", String(64), nullable=False),
    Column("node", BigInteger),
    Column("item", BigInteger),
    Column("attempt", Integer),
    Column("data", Text),
    sqlite_with_rowid=False,
)
