"""What is old is forgotten, but for what still waits; and what was forgotten starts nothing twice as long as its run is there."""

import asyncio
import json

import pytest

from penstock.contracts.errors import InvalidInput
from penstock.engine.events.again import retry_failed
from penstock.engine.events.deciding import release_due
from penstock.engine.events.intake import store_events
from penstock.engine.events.records import note_failure
from penstock.engine.events.retention import AT_ONCE, Retention
from penstock.engine.events.starts import begin_due
from penstock.engine.published.publishing import set_state
from penstock.engine.published.versions import Shelf
from penstock.engine.statement import Statement
from tests.engine.events.bench import SECOND, Bench, event, trigger

DAY = 24 * 3600 * SECOND
ROWS = {"rows": "event.data.rows"}
JOIN = {"kind": "all", "of": [{"kind": "event", "type": kind} for kind in ("a", "b")], "key": "event.data.day", "policy": "each"}
_counts = Statement(
    "SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM decision), (SELECT count(*) FROM trigger_start), "
    "(SELECT count(*) FROM event_conflict)"
)
_many = Statement(
    'INSERT INTO event (workspace, source, id, "type", received_at, via, sender, digest, body, hops, correlation_id, state, replays, '
    "tries) SELECT 'default', '/old', text_of(n), 'none', :at, 'http', '', '', '{}', 0, '', 'done', 0, 0 FROM elements(:numbers) n"
)


async def sweep(bench: Bench, days: float = 30) -> tuple[int, ...]:
    """How many events, decisions, starts and conflicts are left."""
    await Retention(bench.store, lambda: bench.now, days).sweep()
    [found] = await bench.store.read(lambda connection: _counts.rows(connection))
    return tuple(found)


async def newest(bench: Bench) -> None:
    """The newest event always stays."""
    await bench.send(event("newest", kind="unrelated"))


async def test_what_is_old_and_done_is_forgotten_with_all_that_was_decided(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS))
    await bench.send(event("a", data={"rows": 1}), event("b", data={"rows": "x"}))
    await bench.keep(event("a", data={"rows": 2}))
    [(run_id, *_)] = await bench.run_rows()
    bench.now += 31 * DAY
    await newest(bench)

    assert await sweep(bench, days=0) == (3, 2, 1, 1)
    assert await sweep(bench, days=40) == (3, 2, 1, 1)
    # The run goes on: it counts for what a trigger may do at a time.
    assert await sweep(bench) == (1, 0, 1, 0)
    await bench.end_run(run_id)
    assert await sweep(bench) == (1, 0, 0, 0)


async def test_an_event_that_was_forgotten_leads_to_the_run_that_it_made(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS))
    await bench.send(event("a", data={"rows": 1}))
    [(run_id, *_)] = await bench.run_rows()
    await bench.end_run(run_id)
    bench.now += 31 * DAY
    await newest(bench)
    assert await sweep(bench) == (1, 0, 0, 0)

    await bench.send(event("a", data={"rows": 1}))

    assert [row[0] for row in await bench.run_rows()] == [run_id]
    assert await bench.outcomes() == ["started"]


async def test_what_a_dedupe_key_stopped_it_stops_for_good(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, dedupe="event.data.rows"))
    await bench.send(event("a", data={"rows": 1}))
    bench.now += 31 * DAY
    await newest(bench)
    await sweep(bench)

    await bench.send(event("b", data={"rows": 1}))

    assert await bench.outcomes() == ["duplicate"]


async def test_what_is_held_stays_until_it_is_joined(bench: Bench) -> None:
    await bench.declare(trigger(on=JOIN, parameters={"rows": "events[0].data.rows"}))
    await bench.send(event("a", kind="a", data={"day": 1, "rows": 5}))
    bench.now += 400 * DAY
    await newest(bench)
    assert await sweep(bench) == (2, 1, 0, 0)

    await bench.send(event("b", kind="b", data={"day": 1}))

    assert await bench.runs() == [{"rows": 5}]


async def test_what_is_held_twice_stays_when_a_run_was_made_of_it_once(bench: Bench) -> None:
    both = {**JOIN, "of": [{"kind": "event", "type": "*"}, {"kind": "event", "type": "a"}]}
    await bench.declare(trigger(on=both, parameters={"rows": "events[0].data.rows"}))
    await bench.send(event("b", kind="b", data={"day": 1, "rows": 1}))
    # With the one before as the second of the two; as the first it waits for another second one.
    await bench.send(event("a", kind="a", data={"day": 1, "rows": 2}))
    [(run_id, *_)] = await bench.run_rows()
    await bench.end_run(run_id)
    bench.now += 31 * DAY
    await newest(bench)
    await sweep(bench)

    await bench.send(event("c", kind="a", data={"day": 1, "rows": 3}))

    assert await bench.runs() == [{"rows": 1}, {"rows": 2}]


async def test_starts_that_wait_and_what_counts_for_a_throttle_stay(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, throttle={"count": 1, "seconds": 34 * DAY // SECOND}))
    await bench.send(event("a", data={"rows": 1}), event("b", data={"rows": 2}))
    [(run_id, *_)] = await bench.run_rows()
    await bench.end_run(run_id)
    bench.now += 31 * DAY
    await newest(bench)

    assert await sweep(bench) == (2, 1, 2, 0)
    await bench.do(lambda connection: begin_due(connection, bench.now))
    assert await bench.runs() == [{"rows": 1}]
    bench.now += 4 * DAY
    await bench.do(lambda connection: begin_due(connection, bench.now))
    assert await bench.runs() == [{"rows": 1}, {"rows": 2}]


async def test_dead_events_stay(bench: Bench) -> None:
    [kept] = await bench.keep(event("a"))
    for _ in range(3):
        await bench.do(lambda connection: note_failure(connection, kept.event_no, "no"))
    bench.now += 400 * DAY
    await newest(bench)

    assert (await sweep(bench))[0] == 2
    assert (await bench.states())["a"] == "dead"


async def test_what_failed_is_not_tried_again_without_all_of_its_events(bench: Bench) -> None:
    await bench.declare(trigger(on=JOIN, parameters={"rows": "events[0].data.rows"}))
    shelf = Shelf("default", "pipeline", "flow")
    await bench.do(lambda connection: set_state(connection, shelf, "1", "disabled", bench.now))
    await bench.send(event("a", kind="a", data={"day": 1, "rows": 5}))
    bench.now += 20 * DAY
    await bench.send(event("b", kind="b", data={"day": 1}))
    bench.now += 11 * DAY
    await newest(bench)
    assert await sweep(bench) == (2, 1, 1, 0)

    with pytest.raises(InvalidInput, match="events replay"):
        await bench.do(lambda connection: retry_failed(connection, "default", 2, bench.now))


async def test_a_number_is_never_another_events(bench: Bench) -> None:
    await bench.send(*(event(number) for number in range(5)))
    bench.now += 31 * DAY

    assert (await sweep(bench))[0] == 1
    [stored] = await bench.keep(event("next"))
    assert stored.event_no == 6


async def test_many_are_forgotten_a_few_at_a_time_by_one_of_several(bench: Bench) -> None:
    numbers = json.dumps([str(number) for number in range(3 * AT_ONCE)])
    await bench.do(lambda connection: _many(connection, at=bench.now, numbers=numbers))
    bench.now += 31 * DAY
    await newest(bench)

    await asyncio.gather(*(Retention(bench.store, lambda: bench.now, 30).sweep() for _ in range(3)))

    assert (await sweep(bench))[0] == 1


async def test_a_burst_that_a_pause_outlasts_is_decided_in_the_end(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, debounce={"seconds": 34 * DAY // SECOND}))
    await bench.send(event("a", data={"rows": 1}))
    bench.now += 100 * DAY
    await bench.do(lambda connection: store_events(connection, [bench.received(event("z", kind="unrelated"))]))
    await sweep(bench)

    await bench.do(lambda connection: release_due(connection, bench.now))

    assert await bench.runs() == [{"rows": 1}]
