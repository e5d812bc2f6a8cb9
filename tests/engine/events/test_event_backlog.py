"""What operators are told of events that wait."""

from functools import partial

from penstock.engine.event_backlog import EventBacklog, event_backlog
from penstock.engine.events.records import note_failure
from penstock.engine.events.refusals import keep_refused
from penstock.engine.statement import Statement
from tests.engine.events.bench import SECOND, Bench, event
from tests.engine.events.test_received import Delivered

_owe = Statement(
    'INSERT INTO owed_event (workspace, subscription, message_id, event_id, "type", topic, body, state, tries, made_at, due_at, '
    "give_up_at) VALUES ('sales', '', '', '', '', '', '', :state, 0, :made_at, 0, 0)"
)


async def test_where_nothing_waits_nothing_is_counted(bench: Bench) -> None:
    await bench.send(event("decided"))
    await bench.do(lambda connection: _owe(connection, state="delivered", made_at=1))

    found = await bench.store.read(event_backlog)

    assert found == EventBacklog(new={}, dead={}, unread={}, owed={}, oldest_new=None, oldest_owed=None)


async def test_what_waits_is_counted_by_workspace_and_the_oldest_is_told(bench: Bench) -> None:
    [dead] = await bench.keep(event("dead"))
    for _ in range(3):
        await bench.do(lambda connection: note_failure(connection, dead.event_no, "no"))
    first = bench.now = bench.now + SECOND
    await bench.keep(event("a"), event("b"))
    bench.now, bench.workspace = bench.now + SECOND, "sales"
    await bench.keep(event("a"))
    refused = [(Delivered(b"what?"), "no mapping"), (Delivered(b"?", key="sales.x"), "no mapping")]
    await bench.do(lambda connection: keep_refused(connection, refused, bench.now, "default"))
    for made_at in (bench.now, first):
        await bench.do(partial(_owe, state="owed", made_at=made_at))

    found = await bench.store.read(event_backlog)

    assert found.new == {"default": 2, "sales": 1}
    assert found.dead == {"default": 1}
    assert found.unread == {"default": 1, "sales": 1}
    assert found.owed == {"sales": 2}
    assert (found.oldest_new, found.oldest_owed) == (first, first)
