"""From an event to a run: matched or not and why, mapped, made exactly once."""

from penstock.contracts.pools import decode_pool
from penstock.engine.pools import apply_pool
from penstock.engine.statement import Statement
from tests.engine.events.bench import Bench, event, trigger

ROWS = {"rows": "event.data.rows"}
_names = Statement("SELECT pipeline, number, name FROM run ORDER BY run_no")


async def test_an_event_makes_one_run_with_its_data_as_parameters(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, tags={"from": "upstream"}))

    decided = await bench.send(event("a", data={"rows": 7}))

    assert await bench.runs() == [{"rows": 7}]
    assert len(decided.begun) == 1
    assert await bench.outcomes() == ["started"]
    assert await bench.states() == {"a": "done"}


async def test_the_same_event_again_changes_nothing(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS))

    await bench.send(event("a", data={"rows": 7}), event("a", data={"rows": 7}))
    await bench.send(event("a", data={"rows": 7}))

    assert await bench.runs() == [{"rows": 7}]


async def test_what_does_not_match_is_kept_with_the_reason(bench: Bench) -> None:
    await bench.declare(trigger(on={"kind": "event", "type": "day.ready", "where": "event.data.rows > 1000"}, parameters=ROWS))

    await bench.send(event("a", data={"rows": 7}), event("b", data={"rows": 2000}), event("c", "other"), event("d", data={}))

    assert await bench.runs() == [{"rows": 2000}]
    decisions = await bench.decisions()
    assert [outcome for outcome, _ in decisions] == ["not_matched", "started", "not_matched"]
    assert "event.data.rows > 1000" in decisions[0][1]
    assert "rows" in decisions[2][1]


async def test_a_value_of_the_wrong_type_is_refused_before_any_run(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS))

    await bench.send(event("a", data={"rows": "many"}))

    assert await bench.runs() == []
    [(outcome, reason)] = await bench.decisions()
    assert outcome == "refused"
    assert "rows" in reason


async def test_the_runs_of_a_batch_are_numbered_in_the_order_of_its_events(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS))
    await bench.publish(name="other")
    await bench.declare(trigger("beside", pipeline="other"))

    await bench.send(*(event(number, data={"rows": number}) for number in range(20)))
    await bench.send(event("last", data={"rows": 20}))

    names = {(row[0], row[1]): row[2] for row in await bench.store.read(lambda connection: _names.rows(connection))}
    assert [names["flow", number] for number in range(1, 22)] == [f"flow-{number}" for number in range(1, 22)]
    assert [names["other", number] for number in range(1, 22)] == [f"other-{number}" for number in range(1, 22)]
    assert await bench.runs_of("flow") == [{"rows": number} for number in range(21)]


async def test_what_no_runner_could_ever_do_is_refused(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS))
    await bench.do(lambda connection: apply_pool(connection, "default", decode_pool({"name": "gpu"}), bench.now))

    await bench.send(event("a", data={"rows": 1}))

    [(outcome, reason)] = await bench.decisions()
    assert outcome == "refused"
    assert "pool 'cpu'" in reason
