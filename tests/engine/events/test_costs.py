"""What is done for every event and every second costs no more where much has happened before, or waits for something else."""

import json
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection

from penstock.contracts.cloud_events import ReceivedEvent
from penstock.contracts.publishing import PublishRequest
from penstock.contracts.spec import encode_spec
from penstock.engine.events.deciding import decide_new, release_due, take_in
from penstock.engine.events.retention import starts_before
from penstock.engine.events.starts import has_fetches, lease_fetches, try_again
from penstock.engine.events.triggers import declare
from penstock.engine.events.upkeep import has_new, looks_due
from penstock.engine.migration import migrate
from penstock.engine.published.publishing import publish
from penstock.engine.statement import Statement
from penstock.engine.stores.sqlite import connect
from tests.engine.cluster import pipeline, step
from tests.engine.events.bench import EPOCH, event, trigger

FEW, MANY = 20, 4000
STEPS = 20
"""Of SQLite's machine, between two counts."""
LATER = EPOCH * 2
LIMITED = {"policy": "queue", "limit": 1, "key": "event.data.key"}
_events = Statement(
    'INSERT INTO event (workspace, source, id, "type", received_at, via, sender, digest, body, hops, correlation_id, state, replays, '
    "tries) SELECT 'default', '/old', text_of(n), 'none', 1, 'http', '', '', '{}', 0, '', 'done', 0, 0 FROM elements(:numbers) n"
)
_decisions = Statement(
    'INSERT INTO decision (event_no, trigger_no, replay, outcome, reason, "at") '
    "SELECT number_of(n), 1, 0, 'started', '', 1 FROM elements(:numbers) n"
)
_starts = Statement(
    'INSERT INTO trigger_start (trigger_no, cause, event_nos, state, reason, run_id, "key", spec_digest, tries, due_at, made_at) '
    "SELECT 1, CAST(:state AS TEXT) || text_of(n), '[]', :state, '', 'run' || text_of(n), 'of others', '', 0, :due_at, 1 "
    "FROM elements(:numbers) n"
)
_held = Statement(
    'INSERT INTO held_event (trigger_no, why, "key", member, event_no, replay, since) '
    "SELECT 1, 'join', text_of(n), 0, number_of(n), 0, 1 FROM elements(:numbers) n"
)
_keys = Statement(
    "INSERT INTO dedupe_key (workspace, trigger, \"key\", event_no, \"at\") SELECT 'default', 'retrain', text_of(n), number_of(n), 1 "
    "FROM elements(:numbers) n"
)
Deed = Callable[[Connection], object]


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = connect(None, "BEGIN")
    with engine.connect() as made:
        migrate(made, "the store of the test")
        spec = json.loads(encode_spec(pipeline(step("train"))))
        publish(made, "default", PublishRequest(spec=spec), "tester", EPOCH)
        declare(made, "default", trigger(concurrency=LIMITED, dedupe="event.id"), "tester", EPOCH)
        yield made
    engine.dispose()


def fill(connection: Connection, count: int) -> None:
    """Has so much happen."""
    numbers = json.dumps([str(1000 + number) for number in range(count)])
    for statement in (_events, _decisions, _held, _keys):
        statement(connection, numbers=numbers)
    _starts(connection, numbers=numbers, state="started", due_at=1)
    for state in ("fetch", "queue", "again"):
        _starts(connection, numbers=numbers, state=state, due_at=LATER)


def sent(connection: Connection) -> None:
    for number in range(3):
        one = event(f"new-{number}", data={"key": str(number)})
        take_in(connection, [ReceivedEvent(workspace="default", via="http", event=one, received_at=EPOCH)], EPOCH)


DEEDS: dict[str, Deed] = {
    "an event": sent,
    "whether there are new ones": has_new,
    "new ones": lambda connection: decide_new(connection, EPOCH),
    "what is due": lambda connection: looks_due(connection, EPOCH),
    "held events": lambda connection: release_due(connection, EPOCH),
    "what is tried again": lambda connection: try_again(connection, EPOCH),
    "whether data is to be fetched": lambda connection: has_fetches(connection, EPOCH),
    "data to fetch": lambda connection: lease_fetches(connection, EPOCH, 10),
    "what may be forgotten": lambda connection: starts_before(connection, 0, EPOCH),
}


def steps_of(connection: Connection, deed: Deed) -> int:
    """What it costs."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    driver = connection.connection.driver_connection
    assert driver is not None
    driver.set_progress_handler(count, STEPS)
    try:
        deed(connection)
    finally:
        driver.set_progress_handler(None, 0)
        connection.rollback()
    return steps


@pytest.mark.parametrize("name", DEEDS)
def test_what_it_costs_does_not_grow(connection: Connection, name: str) -> None:
    fill(connection, FEW)
    connection.commit()
    before = steps_of(connection, DEEDS[name])
    for table in ("event", "decision", "trigger_start", "held_event", "dedupe_key"):
        connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608 - constants
    fill(connection, MANY)
    connection.commit()

    # By a level of a tree or two; each row more that is looked at would be a step or more.
    assert steps_of(connection, DEEDS[name]) <= before + 30
