"""Runs that triggers make say which version they are of: a deprecated one warns, a disabled one makes none."""

import json

from penstock.engine.events.again import retry_failed
from penstock.engine.events.starts import begin_due, try_again
from penstock.engine.published.publishing import set_state
from penstock.engine.published.versions import Shelf
from tests.engine.events.bench import Bench, event, parameter, trigger

FLOW = Shelf("default", "pipeline", "flow")


async def tags(bench: Bench) -> list[dict[str, str]]:
    return [json.loads(row[4]) for row in await bench.run_rows()]


async def test_a_run_says_its_version_and_whether_that_is_deprecated(bench: Bench) -> None:
    await bench.declare(trigger(parameters={"rows": "event.data.rows"}, tags={"why": "test"}))
    await bench.send(event(1, data={"rows": 1}))
    await bench.do(lambda connection: set_state(connection, FLOW, "1", "deprecated", bench.now, "the table moved"))
    await bench.send(event(2, data={"rows": 2}))

    assert sorted(await tags(bench), key=len) == [
        {"why": "test", "version": "1"},
        {"why": "test", "version": "1", "warning": "flow@1 is deprecated: the table moved"},
    ]


async def test_a_disabled_version_makes_no_runs_and_the_event_says_so(bench: Bench) -> None:
    await bench.declare(trigger(parameters={"rows": "event.data.rows"}))
    await bench.do(lambda connection: set_state(connection, FLOW, "1", "disabled", bench.now))
    await bench.send(event(1, data={"rows": 1}))

    assert await bench.runs() == []
    ((outcome, reason),) = await bench.decisions()
    assert (outcome, reason) == ("failed", "the version 1 of flow is disabled")


async def test_what_waited_when_its_version_was_disabled_fails_and_can_be_tried_again(bench: Bench) -> None:
    await bench.declare(trigger(parameters={"rows": "event.data.rows"}, concurrency={"policy": "queue", "limit": 1}))
    await bench.send(event(1, data={"rows": 1}), event(2, data={"rows": 2}))
    await bench.do(lambda connection: set_state(connection, FLOW, "1", "disabled", bench.now))
    [(run_id, *_)] = await bench.run_rows()
    await bench.end_run(run_id)
    await bench.do(lambda connection: begin_due(connection, bench.now))
    assert await bench.decisions() == [("started", ""), ("failed", "the version of flow that it was to run is disabled")]

    await bench.publish(parameter("rows"), name="flow", version="2", note="better")
    await bench.do(lambda connection: retry_failed(connection, "default", 2, bench.now))
    await bench.do(lambda connection: try_again(connection, bench.now))

    assert await bench.runs() == [{"rows": 1}, {"rows": 2}]
    assert (await tags(bench))[1]["version"] == "2"
