"""What fails is kept and can be tried again: events that can't be decided, runs that can't be made, data that is not there."""

import asyncio

import pytest
from typing_extensions import override

from penstock.contracts.artifacts import inline
from penstock.contracts.errors import InvalidInput
from penstock.contracts.named_artifacts import unresolved
from penstock.contracts.spec import ParameterSpec
from penstock.engine.access.holdings import held
from penstock.engine.core.rows import unpack_values
from penstock.engine.events.again import replay, retry_dead, retry_failed
from penstock.engine.events.deciding import release_due
from penstock.engine.events.fetching import Fetching
from penstock.engine.events.queries import event_view, list_events
from penstock.engine.events.starts import FETCH_TRIES, try_again
from penstock.engine.people.named_artifacts import add_version
from penstock.engine.published.publishing import set_state
from penstock.engine.published.versions import Shelf
from penstock.engine.statement import Statement
from penstock.transport.artifact_stores.memory import MemoryArtifactStore
from penstock.transport.buses.memory import MemoryBus
from penstock.transport.datastore import Datastores
from penstock.transport.datastores.memory import MemoryDatastores
from tests.engine.events.bench import SECOND, Bench, emit, event, serving, trigger, until

ROWS = {"rows": "event.data.rows"}
RAW = ParameterSpec(name="raw", type="File", read="file")
_spoil = Statement("UPDATE trigger_version SET definition = :definition WHERE name IN ('broken', 'broken-clock')")
_spoil_event = Statement("UPDATE event SET body = :body WHERE id = 'a'")
_body = Statement("SELECT body FROM event WHERE id = 'a'")


async def test_an_event_that_can_not_be_decided_is_put_aside_and_can_be_tried_again(bench: Bench) -> None:
    bus, begun = MemoryBus(), list[int]()
    await bench.declare(trigger(parameters=ROWS))
    await bench.keep(event("a", data={"rows": 1}), event("b", data={"rows": 2}))
    body = await bench.store.read(lambda connection: _body.rows(connection))
    await bench.do(lambda connection: _spoil_event(connection, body="{"))

    async def is_dead() -> bool:
        return await bench.states() == {"a": "dead", "b": "done"}

    async with serving(bench, bus, begun, tick_seconds=0.01):
        await until(is_dead)
    [view] = await bench.store.read(lambda connection: list_events(connection, "default", state="dead"))
    assert "JSONDecodeError" in (view.error or "")
    assert await bench.runs() == [{"rows": 2}]

    await bench.do(lambda connection: _spoil_event(connection, body=body[0][0]))
    await bench.do(lambda connection: retry_dead(connection, "default", view.event_no))
    async with serving(bench, bus, begun, tick_seconds=0.01):
        await until(lambda: has_run(bench, 2))
    assert await bench.runs() == [{"rows": 2}, {"rows": 1}]


async def test_a_trigger_that_can_not_be_read_keeps_no_other_from_its_events(bench: Bench) -> None:
    """Nor from its time: what waits for others, what is due."""
    bus, begun = MemoryBus(), list[int]()
    await bench.declare(trigger("broken", parameters=ROWS, debounce={"seconds": 1}))
    await bench.declare(trigger("broken-clock", on={"kind": "cron", "schedule": "* * * * *"}, parameters={"rows": "1"}))
    await bench.declare(trigger("calm", parameters=ROWS, debounce={"seconds": 1}))
    await bench.declare(trigger("clock", on={"kind": "cron", "schedule": "* * * * *"}, parameters={"rows": "1"}))
    await bench.send(event("a", data={"rows": 5}))
    await bench.do(lambda connection: _spoil(connection, definition="{}"))
    bench.now += 61 * SECOND

    async with serving(bench, bus, begun, tick_seconds=0.01):
        await until(lambda: has_run(bench, 2))
        await emit(bus, event("b", data={"rows": 6}))
        await until(lambda: is_decided(bench, "calm", "waiting"))

    assert sorted(run["rows"] for run in await bench.runs()) == [1, 5]
    assert await bench.outcomes("calm") == ["started", "waiting"]
    assert (await bench.outcomes("broken"))[-1] == "failed"
    assert await bench.outcomes("clock") == ["started"]
    await bench.declare(trigger("broken", parameters={"rows": "event.data.rows + 10"}))
    await bench.do(lambda connection: release_due(connection, bench.now))
    assert {"rows": 15} in await bench.runs()


async def test_an_event_of_a_disabled_pipeline_fails_until_it_is_tried_again(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS))
    shelf = Shelf("default", "pipeline", "flow")
    await bench.do(lambda connection: set_state(connection, shelf, "1", "disabled", bench.now))
    await bench.send(event("a", data={"rows": 1}))
    assert await bench.decisions() == [("failed", "the version 1 of flow is disabled")]

    await bench.do(lambda connection: set_state(connection, shelf, "1", "active", bench.now))
    assert await bench.do(lambda connection: retry_failed(connection, "default", 1, bench.now)) == 1
    assert await bench.outcomes() == ["waiting"]
    await bench.do(lambda connection: try_again(connection, bench.now))

    assert await bench.runs() == [{"rows": 1}]
    assert await bench.outcomes() == ["started"]
    with pytest.raises(InvalidInput, match="has failed"):
        await bench.do(lambda connection: retry_failed(connection, "default", 1, bench.now))


async def test_a_start_that_was_refused_for_what_was_not_there_yet_can_be_tried_again(bare: Bench) -> None:
    model = ParameterSpec(name="model", type="Any", required=False, default=unresolved("churn@prod"))
    await bare.publish(model)
    await bare.declare(trigger())
    await bare.send(event("a"))
    [(outcome, reason)] = await bare.decisions()
    assert (outcome, "no artifact is named 'churn'" in reason) == ("refused", True)

    value = inline(0.5)
    await bare.do(lambda connection: add_version(connection, "default", "churn", value, alias="prod", by="ada", now=bare.now))
    assert await bare.do(lambda connection: retry_failed(connection, "default", 1, bare.now)) == 1
    await bare.do(lambda connection: try_again(connection, bare.now))

    assert await bare.outcomes() == ["started"]


async def fetch_all(bench: Bench, datastores: MemoryDatastores) -> None:
    fetching = Fetching(bench.store, datastores, MemoryArtifactStore(), lambda: bench.now)
    async with asyncio.TaskGroup() as tasks:
        fetching.start(tasks, bench.decided.append)


async def test_data_that_an_event_names_is_fetched_before_the_run_is_made(bare: Bench) -> None:
    datastores = MemoryDatastores(MemoryArtifactStore())
    datastores.place.contents["s3://lake/day.csv"] = b"1,2"
    await bare.publish(RAW)
    await bare.declare(trigger(parameters={"raw": "event.data.uri"}))

    await bare.send(event("a", data={"uri": "s3://lake/day.csv"}))
    assert await bare.outcomes() == ["waiting"]
    await asyncio.gather(fetch_all(bare, datastores), fetch_all(bare, datastores))

    [row] = await bare.run_rows()
    raw = unpack_values(bytes(row[1]))["raw"]
    taken = await datastores.take("s3://lake/day.csv", "file")
    assert raw == taken
    assert await bare.store.read(lambda connection: held(connection, "default", [taken.digest])) == {taken.digest}
    assert await bare.outcomes() == ["started"]


async def test_data_that_can_not_be_had_fails_after_some_tries_and_can_be_asked_for_again(bare: Bench) -> None:
    datastores = MemoryDatastores(MemoryArtifactStore())
    datastores.place.contents["s3://lake/day.csv"] = b"1,2"
    datastores.place.is_away = True
    await bare.publish(RAW)
    await bare.declare(trigger(parameters={"raw": "event.data.uri"}))
    await bare.send(event("a", data={"uri": "s3://lake/day.csv"}))

    for number in range(FETCH_TRIES):
        assert await bare.outcomes() == ["waiting"], number
        await fetch_all(bare, datastores)
        bare.now += 400 * SECOND
    [(outcome, reason)] = await bare.decisions()
    assert (outcome, "away" in reason) == ("failed", True)

    datastores.place.is_away = False
    await bare.do(lambda connection: retry_failed(connection, "default", 1, bare.now))
    await bare.do(lambda connection: try_again(connection, bare.now))
    await fetch_all(bare, datastores)
    assert await bare.outcomes() == ["started"]


class Odd(MemoryDatastores):
    """Nobody foresaw how it fails."""

    @override
    def of(self, workspace: str) -> Datastores:
        raise RuntimeError(workspace)


async def test_data_that_fails_in_a_way_nobody_foresaw_fails_after_some_tries(bare: Bench) -> None:
    await bare.publish(RAW)
    await bare.declare(trigger(parameters={"raw": "event.data.uri"}))
    await bare.send(event("a", data={"uri": "s3://lake/day.csv"}))

    for number in range(FETCH_TRIES):
        assert await bare.outcomes() == ["waiting"], number
        await fetch_all(bare, Odd(MemoryArtifactStore()))
        bare.now += 400 * SECOND

    [(outcome, reason)] = await bare.decisions()
    assert (outcome, "RuntimeError('default')" in reason) == ("failed", True)


async def test_data_that_is_nowhere_fails_at_once(bare: Bench) -> None:
    await bare.publish(RAW)
    await bare.declare(trigger(parameters={"raw": "event.data.uri"}))
    await bare.send(event("a", data={"uri": "s3://elsewhere/day.csv"}))

    await fetch_all(bare, MemoryDatastores(MemoryArtifactStore()))

    assert await bare.outcomes() == ["failed"]


async def test_a_replay_is_decided_beside_what_was_decided_before(bench: Bench) -> None:
    bus, begun = MemoryBus(), list[int]()
    await bench.declare(trigger(parameters=ROWS))
    await bench.send(event("a", data={"rows": 1}))

    await bench.do(lambda connection: replay(connection, "default", 1))
    with pytest.raises(InvalidInput, match="being decided"):
        await bench.do(lambda connection: replay(connection, "default", 1))
    async with serving(bench, bus, begun):
        await until(lambda: has_run(bench, 2))

    view = await bench.store.read(lambda connection: event_view(connection, "default", 1))
    assert [(one.replay, one.outcome) for one in view.decisions] == [(0, "started"), (1, "started")]
    assert len({one.run_id for one in view.decisions}) == 2
    assert all(one.run_name for one in view.decisions)


async def has_run(bench: Bench, count: int = 1) -> bool:
    return len(await bench.run_rows()) == count


async def is_decided(bench: Bench, name: str, outcome: str) -> bool:
    return outcome in await bench.outcomes(name)
