"""The tables of events, triggers and what was decided. Times are microseconds since 1970 UTC; expressions and events are kept as JSON."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, Text, UniqueConstraint, text

from penstock.engine.tables import NUMBER, metadata

event = Table(
    "event",
    metadata,
    Column("event_no", NUMBER, primary_key=True, autoincrement=True),
    Column("workspace", String(63), nullable=False),
    Column("source", String(255), nullable=False),
    Column("id", String(255), nullable=False),
    Column("type", String(255), nullable=False),
    Column("subject", Text),
    Column("time", String(64)),
    Column("received_at", BigInteger, nullable=False),
    Column("via", String(16), nullable=False),
    Column("sender", Text, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("body", Text, nullable=False),
    Column("hops", Integer, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("causation_id", Text),
    Column("state", String(8), nullable=False, doc="new, done or dead"),
    Column("replays", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("error", Text),
    UniqueConstraint("workspace", "source", "id"),
    Index("event_new", "event_no", sqlite_where=text("state = 'new'"), postgresql_where=text("state = 'new'")),
    Index("event_dead", "workspace", sqlite_where=text("state = 'dead'"), postgresql_where=text("state = 'dead'")),
    Index("event_by_type", "workspace", "type", "event_no"),
    sqlite_autoincrement=True,
)

event_conflict = Table(
    "event_conflict",
    metadata,
    Column("event_no", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", String(80), primary_key=True),
    Column("body", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

trigger_version = Table(
    "trigger_version",
    metadata,
    Column("trigger_no", NUMBER, primary_key=True, autoincrement=True),
    Column("workspace", String(63), nullable=False),
    Column("name", String(127), nullable=False),
    Column("version", Integer, nullable=False),
    Column("pipeline", String(63), nullable=False),
    Column("from_version", String(63), doc="Of the pipeline that brought it; NULL: declared by itself."),
    Column("definition", Text, nullable=False),
    Column("state", String(12), nullable=False, doc="on, paused, inert, or superseded by a later version"),
    Column("made_at", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    UniqueConstraint("workspace", "name", "version"),
    Index("trigger_live", "workspace", "name", sqlite_where=text("state <> 'superseded'"), postgresql_where=text("state <> 'superseded'")),
    sqlite_autoincrement=True,
)

decision = Table(
    "decision",
    metadata,
    Column("event_no", BigInteger, primary_key=True, autoincrement=False),
    Column("trigger_no", BigInteger, primary_key=True, autoincrement=False),
    Column("replay", Integer, primary_key=True, autoincrement=False),
    Column("outcome", String(12), nullable=False),
    Column("reason", Text, nullable=False),
    Column("run_id", String(63)),
    Column("at", BigInteger, nullable=False),
    Index("decision_by_trigger", "trigger_no", "at"),
    sqlite_with_rowid=False,
)

held_event = Table(
    "held_event",
    metadata,
    Column("trigger_no", BigInteger, primary_key=True, autoincrement=False),
    Column("why", String(8), primary_key=True, doc="join, debounce, batch; or again: it is to be decided once more"),
    Column("key", String(255), primary_key=True),
    Column("member", Integer, primary_key=True, autoincrement=False, doc="Which source of a join it came from."),
    Column("event_no", BigInteger, primary_key=True, autoincrement=False),
    Column("replay", Integer, primary_key=True, autoincrement=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, doc="When something is done about it though nothing else comes."),
    Index("held_until", "until"),
    sqlite_with_rowid=False,
)

_WAITS = "state IN ('fetch', 'queue', 'again')"
_QUEUE = "state = 'queue'"

trigger_start = Table(
    "trigger_start",
    metadata,
    Column("trigger_no", BigInteger, primary_key=True, autoincrement=False),
    Column("cause", String(80), primary_key=True, doc="Digest of what the run is for: of one cause there is one row, and so one run."),
    Column("event_nos", Text, nullable=False, doc="Pairs of an event's number and how often it was replayed."),
    Column("state", String(12), nullable=False, doc="fetch, queue, again, started, skipped, refused or failed"),
    Column("reason", Text, nullable=False),
    Column("run_id", String(63)),
    Column("key", String(255), nullable=False, doc="Of the concurrency policy."),
    Column("parameters", LargeBinary, doc="Values that are known, places that are to be fetched."),
    Column("spec_digest", String(80), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False, doc="When it is looked at next; of one that was started, when that was."),
    Column("made_at", BigInteger, nullable=False),
    Index("start_waits", "state", "due_at", sqlite_where=text(_WAITS), postgresql_where=text(_WAITS)),
    # Whole: whose turn it is, is told by it alone.
    Index("start_queue", "trigger_no", "key", "made_at", "cause", "due_at", sqlite_where=text(_QUEUE), postgresql_where=text(_QUEUE)),
    Index("start_by_state", "trigger_no", "state", "due_at"),
    Index("start_by_run", "run_id"),
    sqlite_with_rowid=False,
)

dedupe_key = Table(
    "dedupe_key",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("trigger", String(127), primary_key=True, doc="By name: an edited trigger knows what its earlier versions did."),
    Column("key", String(80), primary_key=True),
    Column("event_no", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("dedupe_by_event", "event_no"),
    sqlite_with_rowid=False,
)

trigger_clock = Table(
    "trigger_clock",
    metadata,
    Column("trigger_no", BigInteger, primary_key=True, autoincrement=False),
    Column("member", Integer, primary_key=True, autoincrement=False),
    Column("last_at", BigInteger, nullable=False, doc="The last time of the schedule that became an event, or the last look at the data."),
    Column("next_at", BigInteger, nullable=False),
    Index("clock_next", "next_at"),
    sqlite_with_rowid=False,
)

data_look = Table(
    "data_look",
    metadata,
    Column("trigger_no", BigInteger, primary_key=True, autoincrement=False),
    Column("member", Integer, primary_key=True, autoincrement=False),
    Column("claimed_until", BigInteger, nullable=False, doc="Until when somebody looks; 0: nobody does."),
    Column("hinted_at", BigInteger, nullable=False, doc="When somebody last said that there may be something new."),
    Column("looked_at", BigInteger, doc="NULL: not yet, so what is there is not known."),
    Column("objects", Integer, nullable=False),
    Column("trouble", Text, doc="Why the last look found out nothing."),
    sqlite_with_rowid=False,
)

seen_object = Table(
    "seen_object",
    metadata,
    Column("trigger_no", BigInteger, primary_key=True, autoincrement=False),
    Column("member", Integer, primary_key=True, autoincrement=False),
    Column("uri", String(1024), primary_key=True),
    Column("mark", String(255), nullable=False, doc="ETag or digest: changed content changes it."),
    Column("size", BigInteger, nullable=False, doc="-1: it is gone."),
    Column("since", BigInteger, nullable=False, doc="When a look first found it so, or gone."),
    Column("told_mark", String(255), nullable=False, doc="The mark that the last event told of; empty where none did."),
    sqlite_with_rowid=False,
)
