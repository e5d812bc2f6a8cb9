"""From an event to a run: matched or not and why, mapped, made exactly once."""

from tests.engine.events.bench import Bench, event, trigger

ROWS = {"rows": "event.data.rows"}


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
