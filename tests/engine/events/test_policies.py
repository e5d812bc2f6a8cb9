"""What holds events and runs back: joins, debounce, batches, throttles, concurrency, dedupe keys, loops, pauses."""

import random
from typing import Any

import pytest

from penstock.contracts.messages import Cause
from penstock.engine.events.again import replay
from penstock.engine.events.deciding import decide_new, release_due
from penstock.engine.events.starts import begin_due
from penstock.engine.events.triggers import set_state
from penstock.engine.runs import ask_to_cancel
from penstock.engine.statement import Statement
from tests.engine.events.bench import SECOND, Bench, event, trigger

ROWS = {"rows": "event.data.rows"}
_asked_to_end = Statement("SELECT u.run_id FROM run u JOIN timer t ON t.run_no = u.run_no WHERE t.kind = 'cancel' ORDER BY u.run_no")


def ready(number: int, kind: str = "day.ready", **data: Any) -> Any:
    return event(f"{kind}-{number}", kind, data={"rows": number, **data})


async def rows_of(bench: Bench) -> list[int]:
    return [run["rows"] for run in await bench.runs()]


async def pass_seconds(bench: Bench, seconds: float) -> None:
    """As if the service had looked once, so much later."""
    bench.now += int(seconds * SECOND)
    await bench.do(lambda connection: release_due(connection, bench.now))
    await bench.do(lambda connection: begin_due(connection, bench.now))


async def test_the_first_event_of_a_dedupe_key_counts(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, dedupe="event.data.day"))

    await bench.send(ready(1, day="mon"), ready(2, day="tue"), ready(3, day="mon"))
    await bench.send(ready(4, day="tue"))

    assert await rows_of(bench) == [1, 2]
    assert await bench.outcomes() == ["started", "started", "duplicate", "duplicate"]


async def test_an_event_that_is_refused_leaves_its_key_to_the_next_one(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, dedupe="event.data.day"))

    await bench.send(event("wrong", "day.ready", data={"rows": "many", "day": "mon"}))
    await bench.send(ready(2, day="mon"), ready(3, day="mon"))

    assert await rows_of(bench) == [2]
    assert await bench.outcomes() == ["refused", "started", "duplicate"]


async def test_a_replay_makes_another_run_though_its_key_had_one(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, dedupe="event.data.day"))
    await bench.send(ready(1, day="mon"))

    await bench.do(lambda connection: replay(connection, "default", 1))
    await bench.do(lambda connection: decide_new(connection, bench.now))
    await bench.do(lambda connection: decide_new(connection, bench.now))

    assert await rows_of(bench) == [1, 1]
    assert await bench.outcomes() == ["started", "started"]


async def test_ten_and_ten_joined_by_key_make_ten_runs(bench: Bench) -> None:
    parts = [{"kind": "event", "type": "a"}, {"kind": "event", "type": "b"}]
    await bench.declare(trigger(on={"kind": "all", "of": parts, "key": "event.data.day"}, parameters=ROWS))

    await bench.send(*(ready(number, "a", day=number % 5) for number in range(10)))
    assert await bench.outcomes() == ["waiting"] * 10
    for number in range(10):
        await bench.send(ready(number, "b", day=number % 5))

    assert sorted(await rows_of(bench)) == list(range(10))
    assert await bench.outcomes() == ["started"] * 20


@pytest.mark.parametrize("seed", range(4))
async def test_a_join_makes_ten_runs_in_whatever_order_its_events_come(bench: Bench, seed: int) -> None:
    parts = [{"kind": "event", "type": "a"}, {"kind": "event", "type": "b"}]
    both = {"rows": "events[0].data.rows * 100 + events[1].data.rows"}
    await bench.declare(trigger(on={"kind": "all", "of": parts, "key": "event.data.rows"}, parameters=both))
    events = [ready(number, kind) for kind in "ab" for number in range(10)]
    chance = random.Random(seed)
    chance.shuffle(events)

    while events:
        several = chance.randint(1, 5)
        await bench.send(*events[:several])
        del events[:several]

    assert sorted(await rows_of(bench)) == [101 * number for number in range(10)]
    assert await bench.outcomes() == ["started"] * 20


async def test_what_is_half_joined_when_its_time_is_over_expires(bench: Bench) -> None:
    parts = [{"kind": "event", "type": "a"}, {"kind": "event", "type": "b"}]
    await bench.declare(trigger(on={"kind": "all", "of": parts, "within_seconds": 60}, parameters=ROWS))
    await bench.send(ready(1, "a"))

    await pass_seconds(bench, 61)
    await bench.send(ready(2, "b"))

    assert await rows_of(bench) == []
    assert await bench.outcomes() == ["expired", "waiting"]


async def test_of_a_burst_the_last_event_makes_a_run_once_it_is_quiet(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, debounce={"seconds": 5, "key": "event.data.day"}))

    await bench.send(ready(1, day="mon"), ready(2, day="tue"))
    await pass_seconds(bench, 3)
    await bench.send(ready(3, day="mon"))
    await pass_seconds(bench, 3)
    assert await rows_of(bench) == [2]
    await pass_seconds(bench, 3)

    assert await rows_of(bench) == [2, 3]
    assert await bench.outcomes() == ["superseded", "started", "started"]


async def test_a_batch_makes_one_run_when_it_is_full_or_its_time_is_over(bench: Bench) -> None:
    counted = {"rows": "events.size()"}
    await bench.declare(trigger(parameters=counted, batch={"size": 3, "seconds": 60}))

    await bench.send(*(ready(number) for number in range(4)))
    assert await rows_of(bench) == [3]
    await pass_seconds(bench, 61)

    assert await rows_of(bench) == [3, 1]
    assert await bench.outcomes() == ["started"] * 4


async def test_what_a_throttle_does_not_let_through_waits_its_turn(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, throttle={"count": 2, "seconds": 60}))

    await bench.send(*(ready(number) for number in range(5)))
    assert await rows_of(bench) == [0, 1]
    await pass_seconds(bench, 30)
    assert await rows_of(bench) == [0, 1]
    await pass_seconds(bench, 31)
    assert await rows_of(bench) == [0, 1, 2, 3]
    await pass_seconds(bench, 61)

    assert await rows_of(bench) == [0, 1, 2, 3, 4]
    assert await bench.outcomes() == ["started"] * 5


async def test_a_run_waits_for_a_free_place(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, concurrency={"limit": 1, "key": "event.data.day"}))

    await bench.send(ready(1, day="mon"), ready(2, day="mon"), ready(3, day="tue"), ready(4, day="mon"))
    assert sorted(await rows_of(bench)) == [1, 3]
    await pass_seconds(bench, 1)
    assert sorted(await rows_of(bench)) == [1, 3]
    first = next(row for row in await bench.run_rows())
    await bench.end_run(first[0])
    await pass_seconds(bench, 1)

    assert sorted(await rows_of(bench)) == [1, 2, 3]
    assert await bench.outcomes() == ["started", "started", "started", "waiting"]


async def test_a_run_that_is_asked_to_end_has_its_place_until_it_has_ended(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, concurrency={}))
    decided = await bench.send(ready(1), ready(2))
    await bench.do(lambda connection: ask_to_cancel(connection, decided.begun[0], bench.now))

    await pass_seconds(bench, 1)

    assert await rows_of(bench) == [1]


async def test_a_run_is_left_out_while_another_goes_on(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, concurrency={"policy": "skip"}))

    await bench.send(ready(1), ready(2))

    assert await rows_of(bench) == [1]
    assert await bench.outcomes() == ["started", "skipped"]


async def test_a_run_takes_the_place_of_the_oldest(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, concurrency={"policy": "replace", "limit": 2}))

    await bench.send(ready(1), ready(2))
    await bench.send(ready(3))

    assert await rows_of(bench) == [1, 2, 3]
    first = (await bench.run_rows())[0][0]
    assert await bench.store.read(lambda connection: _asked_to_end.rows(connection)) == [(first,)]


async def test_a_paused_trigger_decides_that_it_is_paused(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS))
    await bench.do(lambda connection: set_state(connection, "default", "retrain", "paused", bench.now))

    await bench.send(ready(1))
    await bench.do(lambda connection: set_state(connection, "default", "retrain", "on", bench.now))
    await bench.send(ready(2))

    assert await rows_of(bench) == [2]
    assert await bench.outcomes() == ["paused", "started"]


async def test_what_follows_from_the_trigger_itself_starts_nothing(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS))
    await bench.send(ready(1))
    run_id = (await bench.run_rows())[0][0]

    await bench.send(event("round", data={"rows": 2}, extensions={"causationid": run_id, "penstockhops": 1}))
    await bench.send(event("far", data={"rows": 3}, extensions={"penstockhops": 17}))

    assert await rows_of(bench) == [1]
    assert await bench.outcomes() == ["started", "looped", "looped"]


async def test_a_run_knows_what_it_is_for(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS))

    await bench.send(event("a", data={"rows": 1}, extensions={"correlationid": "first", "penstockhops": 2}))

    cause = Cause.model_validate_json((await bench.run_rows())[0][2])
    assert (cause.kind, cause.trigger, cause.events, cause.correlation_id, cause.hops) == ("event", "retrain", (1,), "first", 2)
