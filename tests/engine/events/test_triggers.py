"""Triggers as they are declared: checked, in versions; taken over by a pipeline's new default version at once, with what they hold."""

from typing import Any

import pytest

from penstock.contracts.errors import InvalidInput
from penstock.contracts.triggers import TriggerSpec
from penstock.engine.events.again import retry_failed
from penstock.engine.events.deciding import release_due
from penstock.engine.events.starts import try_again
from penstock.engine.events.trigger_queries import held_views, trigger_view, trigger_views
from penstock.engine.events.triggers import live_triggers, remove, set_state
from penstock.engine.published.publishing import set_state as set_version_state
from penstock.engine.published.versions import Shelf
from tests.engine.events.bench import SECOND, Bench, event, parameter, trigger

ROWS = {"rows": "event.data.rows"}
PARTS = [{"kind": "event", "type": "a"}, {"kind": "event", "type": "b"}]


async def states(bench: Bench) -> dict[str, tuple[str, int]]:
    """State and version of each trigger."""
    found = await bench.store.read(lambda connection: live_triggers(connection, "default"))
    return {one.name: (one.state, one.version) for one in found}


async def test_an_edited_trigger_is_a_new_version_and_the_same_changes_nothing(bench: Bench) -> None:
    first = await bench.declare(trigger(parameters=ROWS))
    same = await bench.declare(trigger(parameters=ROWS))
    edited = await bench.declare(trigger(parameters={"rows": "event.data.rows + 1"}))

    assert same == first
    assert (edited.version, edited.state) == (2, "on")
    await bench.send(event("a", data={"rows": 1}))
    assert await bench.runs() == [{"rows": 2}]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"parameters": {"row": "1"}}, "row"),
        ({"parameters": {"rows": "event.data.rows +"}}, "rows"),
        ({"pipeline": "unknown"}, "unknown"),
        ({"parameters": ROWS, "on": {"kind": "all", "of": PARTS}, "batch": {"size": 2}}, "join"),
    ],
)
async def test_a_trigger_that_can_not_work_is_refused(bench: Bench, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        await bench.declare(trigger(**fields))


async def test_a_paused_trigger_stays_paused_in_its_next_version(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS))
    await bench.do(lambda connection: set_state(connection, "default", "retrain", "paused", bench.now))

    await bench.declare(trigger(parameters={"rows": "1"}))

    assert await states(bench) == {"retrain": ("paused", 2)}


async def test_what_was_half_joined_is_joined_by_the_next_version(bench: Bench) -> None:
    await bench.declare(trigger(on={"kind": "all", "of": PARTS}, parameters=ROWS))
    await bench.send(event("a", "a", data={"rows": 1}))
    await bench.declare(trigger(on={"kind": "all", "of": PARTS}, parameters={"rows": "event.data.rows + 1"}))

    await bench.send(event("b", "b", data={"rows": 5}))

    assert await bench.runs() == [{"rows": 6}]
    assert await bench.outcomes() == ["started", "started"]


async def test_what_was_held_is_decided_once_more_by_a_version_that_holds_otherwise(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, batch={"size": 10}))
    await bench.send(event("a", data={"rows": 1}), event("b", data={"rows": 2}))
    await bench.declare(trigger(parameters=ROWS))

    bench.now += SECOND
    await bench.do(lambda connection: release_due(connection, bench.now))

    assert await bench.runs() == [{"rows": 1}, {"rows": 2}]
    assert await bench.outcomes() == ["started", "started"]


async def test_what_failed_can_be_tried_again_by_the_next_version(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS))
    shelf = Shelf("default", "pipeline", "flow")
    await bench.do(lambda connection: set_version_state(connection, shelf, "1", "disabled", bench.now))
    await bench.send(event("a", data={"rows": 1}))
    await bench.do(lambda connection: set_version_state(connection, shelf, "1", "active", bench.now))
    await bench.declare(trigger(parameters={"rows": "event.data.rows + 1"}))

    await bench.do(lambda connection: retry_failed(connection, "default", 1, bench.now))
    await bench.do(lambda connection: try_again(connection, bench.now))

    assert await bench.runs() == [{"rows": 2}]
    assert await bench.outcomes() == ["started"]


async def test_what_a_removed_trigger_held_is_told(bench: Bench) -> None:
    await bench.declare(trigger(parameters=ROWS, batch={"size": 10}))
    await bench.send(event("a", data={"rows": 1}))

    await bench.do(lambda connection: remove(connection, "default", "retrain", bench.now))

    assert await bench.decisions() == [("superseded", "the trigger was removed")]
    await bench.send(event("b", data={"rows": 1}))
    assert await bench.runs() == []


def published(name: str = "daily", **fields: object) -> TriggerSpec:
    return trigger(name, parameters=ROWS, **fields)


async def test_a_new_default_version_takes_the_triggers_over(bare: Bench) -> None:
    rows = parameter("rows")
    await bare.publish(rows, version="1", triggers=[published("daily"), published("weekly")], trigger_state="on")
    assert await states(bare) == {"daily": ("on", 1), "weekly": ("on", 1)}
    await bare.do(lambda connection: set_state(connection, "default", "weekly", "paused", bare.now))

    changed = [published("weekly", dedupe="event.id"), published("monthly")]
    await bare.publish(rows, parameter("text", "str").model_copy(update={"required": False}), version="2", triggers=changed)

    assert await states(bare) == {"daily": ("inert", 1), "monthly": ("paused", 1), "weekly": ("paused", 2)}
    views = await bare.store.read(lambda connection: trigger_views(connection, "default", bare.now))
    assert {view.spec.name: view.from_version for view in views} == {"daily": "1", "monthly": "2", "weekly": "2"}


async def test_an_inert_trigger_decides_nothing(bare: Bench) -> None:
    rows = parameter("rows")
    await bare.publish(rows, version="1", triggers=[published()], trigger_state="on")
    await bare.publish(rows, parameter("more", "str").model_copy(update={"required": False}), version="2")

    await bare.send(event("a", data={"rows": 1}))

    assert await bare.decisions("daily") == []
    with pytest.raises(InvalidInput, match="not the default"):
        await bare.do(lambda connection: set_state(connection, "default", "daily", "on", bare.now))


async def test_views_show_counts_and_what_is_held_for(bench: Bench) -> None:
    await bench.declare(trigger(on={"kind": "all", "of": PARTS, "key": "event.data.day"}, parameters=ROWS))
    await bench.send(event("a", "a", data={"rows": 1, "day": "mon"}), event("b", "a", data={}))

    view = await bench.store.read(lambda connection: trigger_view(connection, "default", "retrain", bench.now))
    [held] = await bench.store.read(lambda connection: held_views(connection, "default"))

    assert (view.counts, view.held, view.state) == ({"waiting": 1, "not_matched": 1}, 1, "on")
    assert (held.why, held.key, held.missing, held.event_nos) == ("join", "mon", ("b",), (1,))
