"""Events are kept once, by source and id; another body under the same name is kept beside it."""

from penstock.engine.events.again import replay
from penstock.engine.events.intake import event_of
from penstock.engine.events.queries import event_view, list_events
from penstock.engine.statement import Statement
from tests.engine.events.bench import Bench, event

_bodies = Statement("SELECT body FROM event ORDER BY event_no")
_conflicts = Statement("SELECT event_no, digest FROM event_conflict")


async def test_another_body_under_the_same_name_is_a_conflict_once(bare: Bench) -> None:
    first = await bare.keep(event("a", data=1), event("a", data=2), event("b"))
    again = await bare.keep(event("a", data=2), event("a", data=1))

    assert [(one.is_new, one.is_conflict) for one in first] == [(True, False), (False, True), (True, False)]
    assert [(one.is_new, one.is_conflict) for one in again] == [(False, True), (False, False)]
    assert len(await bare.store.read(lambda connection: _conflicts.rows(connection))) == 1
    assert (await bare.store.read(lambda connection: event_view(connection, "default", first[0].event_no))).conflicts == 1


async def test_events_are_numbered_in_the_order_in_which_they_came(bare: Bench) -> None:
    stored = await bare.keep(*(event(number, source=f"/{number % 7}") for number in range(700)))

    numbers = [one.event_no for one in stored]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 700


async def test_any_text_is_kept_as_it_was(bare: Bench) -> None:
    data = {"half": "\ud800", "nul": "\x00", "emoji": "\N{POTABLE WATER SYMBOL}", "quote": '"\\'}
    odd = event("a\u2028", subject="nul \x00", data=data, extensions={"other": True})

    await bare.keep(odd)

    [(body,)] = await bare.store.read(lambda connection: _bodies.rows(connection))
    assert event_of(body) == odd


async def test_events_are_listed_by_what_is_asked_for(bare: Bench) -> None:
    await bare.keep(event(1, "a.x"), event(2, "a.y"), event(3, "b", "/other"))
    await bare.send(event(4, "a.x"))

    async def ids(**filters: object) -> list[str]:
        return [one.id for one in await bare.store.read(lambda connection: list_events(connection, "default", **filters))]  # type: ignore[arg-type]  # a test's filters

    assert await ids() == ["4", "3", "2", "1"]
    assert await ids(type="a.*") == ["4", "2", "1"]
    assert await ids(type="a.x", limit=1) == ["4"]
    assert await ids(source="/other") == ["3"]
    assert await ids(state="done") == ["4"]
    assert await ids(before=3) == ["2", "1"]
    assert await bare.store.read(lambda connection: list_events(connection, "another")) == []


async def test_a_replay_counts_and_is_new_again(bare: Bench) -> None:
    await bare.send(event("a"))

    assert await bare.do(lambda connection: replay(connection, "default", 1)) == 1
    assert await bare.states() == {"a": "new"}
