BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE artifact (
	workspace VARCHAR(63) NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	kind VARCHAR(12) NOT NULL, 
	size BIGINT NOT NULL, 
	state VARCHAR(12) NOT NULL, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (workspace, digest)
)
 WITHOUT ROWID

;
CREATE TABLE artifact_use (
	digest VARCHAR(80) NOT NULL, 
	run_no BIGINT NOT NULL, 
	node BIGINT NOT NULL, 
	item BIGINT NOT NULL, 
	role VARCHAR(255) NOT NULL, 
	PRIMARY KEY (digest, run_no, node, item, role)
)
 WITHOUT ROWID

;
CREATE TABLE attachment (
	run_no BIGINT NOT NULL, 
	node BIGINT NOT NULL, 
	item BIGINT NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	ref BLOB NOT NULL, 
	PRIMARY KEY (run_no, node, item, name)
)
 WITHOUT ROWID

;
CREATE TABLE attempt (
	run_no BIGINT NOT NULL, 
	node BIGINT NOT NULL, 
	item BIGINT NOT NULL, 
	number INTEGER NOT NULL, 
	state VARCHAR(12) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	pool VARCHAR(255) NOT NULL, 
	slots INTEGER NOT NULL, 
	incarnation VARCHAR(64) NOT NULL, 
	runner VARCHAR(255) NOT NULL, 
	made_at BIGINT NOT NULL, 
	sent_at BIGINT, 
	started_at BIGINT, 
	ended_at BIGINT, 
	failure BLOB, 
	log BLOB, 
	seconds FLOAT NOT NULL, 
	cpu_seconds FLOAT NOT NULL, 
	peak_memory BIGINT NOT NULL, 
	PRIMARY KEY (run_no, node, item, number)
)
 WITHOUT ROWID

;
CREATE TABLE bucket (
	workspace VARCHAR(63) NOT NULL, 
	pool VARCHAR(63) NOT NULL, 
	name TEXT NOT NULL, 
	tokens FLOAT NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (workspace, pool, name)
)
 WITHOUT ROWID

;
CREATE TABLE cache_entry (
	workspace VARCHAR(63) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	outputs BLOB NOT NULL, 
	run_no BIGINT NOT NULL, 
	made_at BIGINT NOT NULL, 
	checked_at BIGINT NOT NULL, 
	node BIGINT NOT NULL, 
	item BIGINT NOT NULL, 
	seconds FLOAT NOT NULL, 
	PRIMARY KEY (workspace, "key")
)
 WITHOUT ROWID

;
CREATE TABLE fair_share (
	workspace VARCHAR(63) NOT NULL, 
	pool VARCHAR(255) NOT NULL, 
	run_no BIGINT NOT NULL, 
	tag BIGINT NOT NULL, 
	PRIMARY KEY (workspace, pool, run_no)
)
 WITHOUT ROWID

;
CREATE TABLE fan_counter (
	run_no BIGINT NOT NULL, 
	each_node BIGINT NOT NULL, 
	next_item BIGINT NOT NULL, 
	PRIMARY KEY (run_no, each_node)
)
 WITHOUT ROWID

;
CREATE TABLE fan_item (
	run_no BIGINT NOT NULL, 
	each_node BIGINT NOT NULL, 
	item BIGINT NOT NULL, 
	parent_item BIGINT NOT NULL, 
	path TEXT NOT NULL, 
	value BLOB NOT NULL, 
	PRIMARY KEY (run_no, each_node, item)
)
 WITHOUT ROWID

;
CREATE TABLE flight (
	workspace VARCHAR(63) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	run_no BIGINT NOT NULL, 
	node BIGINT NOT NULL, 
	item BIGINT NOT NULL, 
	PRIMARY KEY (workspace, "key")
)
 WITHOUT ROWID

;
CREATE TABLE metric (
	run_no BIGINT NOT NULL, 
	node BIGINT NOT NULL, 
	item BIGINT NOT NULL, 
	attempt INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	step BIGINT, 
	value FLOAT, 
	PRIMARY KEY (run_no, node, item, attempt, position)
)
 WITHOUT ROWID

;
CREATE TABLE pool (
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(63) NOT NULL, 
	definition TEXT NOT NULL, 
	is_draining INTEGER NOT NULL, 
	updated_at BIGINT NOT NULL, 
	PRIMARY KEY (workspace, name)
)
 WITHOUT ROWID

;
CREATE TABLE ready (
	workspace VARCHAR(63) NOT NULL, 
	pool VARCHAR(255) NOT NULL, 
	urgency INTEGER NOT NULL, 
	fair BIGINT NOT NULL, 
	run_no BIGINT NOT NULL, 
	node BIGINT NOT NULL, 
	item BIGINT NOT NULL, 
	since BIGINT NOT NULL, 
	slots INTEGER NOT NULL, 
	PRIMARY KEY (workspace, pool, urgency, fair, run_no, node, item)
)
 WITHOUT ROWID

;
CREATE TABLE run (
	run_no INTEGER NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	run_id VARCHAR(63) NOT NULL, 
	pipeline VARCHAR(255) NOT NULL, 
	number BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	experiment TEXT, 
	spec_digest VARCHAR(80) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	params BLOB NOT NULL, 
	options TEXT NOT NULL, 
	cause TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	owner VARCHAR(64), 
	open BIGINT NOT NULL, 
	seq BIGINT NOT NULL, 
	stop VARCHAR(16), 
	error TEXT, 
	outputs BLOB, 
	created_at BIGINT NOT NULL, 
	started_at BIGINT, 
	ended_at BIGINT, 
	PRIMARY KEY (run_no), 
	UNIQUE (workspace, run_id)
);
CREATE TABLE spec (
	workspace VARCHAR(63) NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	bytes BLOB NOT NULL, 
	PRIMARY KEY (workspace, digest)
);
CREATE TABLE step_group (
	run_no BIGINT NOT NULL, 
	node BIGINT NOT NULL, 
	parent_item BIGINT NOT NULL, 
	base BIGINT NOT NULL, 
	total BIGINT NOT NULL, 
	remaining BIGINT NOT NULL, 
	failed BIGINT NOT NULL, 
	skipped BIGINT NOT NULL, 
	PRIMARY KEY (run_no, node, parent_item)
)
 WITHOUT ROWID

;
CREATE TABLE step_run (
	run_no BIGINT NOT NULL, 
	node BIGINT NOT NULL, 
	item BIGINT NOT NULL, 
	parent_item BIGINT NOT NULL, 
	state VARCHAR(12) NOT NULL, 
	waiting INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	failures INTEGER NOT NULL, 
	losses INTEGER NOT NULL, 
	cursor BIGINT NOT NULL, 
	flags INTEGER NOT NULL, 
	due INTEGER NOT NULL, 
	"key" VARCHAR(64), 
	inputs BLOB, 
	outputs BLOB, 
	hit_run BIGINT, 
	hit_at BIGINT, 
	reason TEXT, 
	failure BLOB, 
	started_at BIGINT, 
	ended_at BIGINT, 
	PRIMARY KEY (run_no, node, item)
)
 WITHOUT ROWID

;
CREATE TABLE timeline (
	run_no BIGINT NOT NULL, 
	seq BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	type VARCHAR(64) NOT NULL, 
	node BIGINT, 
	item BIGINT, 
	attempt INTEGER, 
	data TEXT, 
	PRIMARY KEY (run_no, seq)
)
 WITHOUT ROWID

;
CREATE TABLE timer (
	run_no BIGINT NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	node BIGINT NOT NULL, 
	item BIGINT NOT NULL, 
	fire_at BIGINT NOT NULL, 
	PRIMARY KEY (run_no, kind, node, item)
)
 WITHOUT ROWID

;
CREATE INDEX run_live ON run (owner) WHERE ended_at IS NULL;
CREATE INDEX run_by_pipeline ON run (workspace, pipeline, number);
CREATE INDEX step_run_due ON step_run (run_no) WHERE due = 1;
CREATE INDEX step_run_parked ON step_run ("key") WHERE state = 'parked';
CREATE INDEX attempt_live ON attempt (workspace, pool, run_no) WHERE state IN ('dispatched', 'running');
CREATE INDEX ready_by_run ON ready (run_no, node, item);
CREATE INDEX timer_by_time ON timer (fire_at);
CREATE INDEX artifact_use_by_run ON artifact_use (run_no);
COMMIT;
