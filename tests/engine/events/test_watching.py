"""Data that is watched: every change of it is one event, whoever looks, whatever fails in between."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from typing_extensions import override

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.errors import StoreUnavailable
from penstock.contracts.spec import ParameterSpec
from penstock.engine.events.data_changes import AT_ONCE, REMEMBERED
from penstock.engine.events.intake import event_of
from penstock.engine.events.look_rows import hint, next_look_at, tell_existing, troubles_of
from penstock.engine.events.trigger_queries import trigger_view
from penstock.engine.events.triggers import set_state
from penstock.engine.events.watching import CLAIM_SECONDS, Watch
from penstock.engine.statement import Statement
from penstock.engine.store import Store
from penstock.transport.artifact_stores.memory import MemoryArtifactStore
from penstock.transport.datastore import Datastores, FoundObject, Kind
from penstock.transport.datastores.memory import MemoryDatastores
from tests.engine.events.bench import SECOND, Bench, trigger

RAW = ParameterSpec(name="raw", type="File", read="file")
FILES = ParameterSpec(name="raw", type="list[File]", read="object")
_events = Statement("SELECT body, via, state FROM event ORDER BY event_no")


@dataclass
class Lake:
    """A trigger's data, on a bench with a simulated clock. `looks` counts what was listed."""

    bench: Bench
    datastores: MemoryDatastores = field(default_factory=lambda: MemoryDatastores(MemoryArtifactStore()))
    told: int = 0

    def watch(self, datastores: Any = None) -> Watch:
        return Watch(self.bench.store, datastores or self.datastores, lambda: self.bench.now, self._tell)

    def _tell(self) -> None:
        self.told += 1

    def put(self, **contents: str) -> None:
        for name, text in contents.items():
            self.datastores.place.contents[f"s3://lake/daily/{name}.csv"] = text.encode()

    def remove(self, name: str) -> None:
        del self.datastores.place.contents[f"s3://lake/daily/{name}.csv"]

    async def declare(self, uri: str = "s3://lake/daily/*.csv", parameter: ParameterSpec = RAW, **source: Any) -> int:
        await self.bench.publish(parameter)
        spec = trigger(on={"kind": "data", "uri": uri, "poll_seconds": 60, **source})
        return (await self.bench.declare(spec)).trigger_no

    async def look(self, seconds: float = 60.0) -> int:
        """Another look, so much later."""
        self.bench.now += int(seconds * SECOND)
        return await self.watch().look(self.bench.now)

    async def events(self) -> list[CloudEvent]:
        rows = await self.bench.store.read(lambda connection: _events.rows(connection))
        return [event_of(row[0]) for row in rows]

    async def named(self) -> list[str]:
        """The names of the objects that were told of, in order."""
        return [str(event.data["uri"]).rpartition("/")[2].removesuffix(".csv") for event in await self.events()]


@pytest.fixture
def lake(store: Store) -> Lake:
    return Lake(Bench(store))


async def test_an_object_that_comes_is_one_event_and_no_more(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    lake.put(a="1")

    assert [await lake.look(), await lake.look()] == [1, 0]
    (event,) = await lake.events()
    assert event.type == "penstock.data.object.changed"
    assert event.source == "/penstock/default/triggers/retrain"
    assert event.data == {"uri": "s3://lake/daily/a.csv", "mark": event.data["mark"], "size": 1, "member": 0}
    assert event.id == f"s3://lake/daily/a.csv#{event.data['mark']}"
    assert lake.told == 1


async def test_what_was_there_when_the_trigger_was_switched_on_is_not_told(lake: Lake) -> None:
    lake.put(old="1")
    await lake.declare()

    assert await lake.look(0) == 0
    lake.put(new="1")
    await lake.look()

    assert await lake.named() == ["new"]


async def test_existing_objects_are_told_when_somebody_asks(lake: Lake) -> None:
    lake.put(old="1", older="2")
    await lake.declare()
    await lake.look(0)

    await lake.bench.do(lambda connection: tell_existing(connection, "default", "retrain", lake.bench.now))
    await lake.look(1)

    assert await lake.named() == ["old", "older"]
    assert await lake.look() == 0


class _Stamped:
    """Objects with a time of their own."""

    def __init__(self, **changed_at: int) -> None:
        self.changed_at = changed_at

    def of(self, workspace: str) -> Datastores:
        return self

    async def find(self, uri: str) -> list[FoundObject]:
        return [FoundObject(uri=f"s3://lake/{name}.csv", mark="1", size=1, changed_at=at) for name, at in sorted(self.changed_at.items())]

    async def take(self, uri: str, kind: Kind, mark: str | None = None) -> ArtifactRef:
        raise NotImplementedError


async def test_what_came_between_the_switch_and_the_first_look_is_told(lake: Lake) -> None:
    await lake.declare()
    on = lake.bench.now
    stamped = _Stamped(before=on - 1, after=on + 1, long_ago=on - 10 * SECOND, whole_second=on - on % SECOND)
    lake.bench.now += SECOND

    await lake.watch(stamped).look(lake.bench.now)

    assert sorted(await lake.named()) == ["after", "whole_second"]


async def test_a_change_is_an_event_and_so_is_the_change_back(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    for text in ("1", "2", "1", "1"):
        lake.put(a=text)
        await lake.look()

    events = await lake.events()
    assert [event.data["mark"] for event in events] == [events[0].data["mark"], events[1].data["mark"], events[0].data["mark"]]
    assert len({event.id for event in events}) == 3


async def test_an_object_that_goes_away_is_no_event_nor_is_its_return(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    lake.put(a="1")
    await lake.look()
    lake.remove("a")
    assert await lake.look() == 0
    lake.put(a="1")
    assert await lake.look() == 0

    lake.remove("a")
    await lake.look()
    lake.put(a="2")

    assert await lake.look() == 1


async def test_an_object_that_has_long_been_gone_is_forgotten(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    lake.put(a="1")
    await lake.look()
    lake.remove("a")
    await lake.look()
    await lake.look(REMEMBERED / SECOND + 1)
    lake.put(a="1")

    assert await lake.look() == 1


async def test_many_objects_are_told_in_several_looks_at_once(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    lake.put(**{f"n{number}": "1" for number in range(AT_ONCE + 1)})

    assert [await lake.look(), await lake.look(0.001), await lake.look()] == [AT_ONCE, 1, 0]
    assert len(set(await lake.named())) == AT_ONCE + 1


async def test_a_batch_is_told_once_nothing_has_changed_for_a_while(lake: Lake) -> None:
    await lake.declare(parameter=FILES, settle_seconds=10)
    await lake.look(0)
    lake.put(a="1", b="1")
    assert await lake.look() == 0
    lake.put(b="2")
    assert [await lake.look(10), await lake.look(10), await lake.look(10)] == [0, 1, 0]

    (event,) = await lake.events()
    assert event.type == "penstock.data.settled"
    assert event.data["uris"] == ["s3://lake/daily/a.csv", "s3://lake/daily/b.csv"]
    assert list(event.data["marks"]) == event.data["uris"]


async def test_a_great_batch_is_told_in_parts(lake: Lake) -> None:
    await lake.declare(parameter=FILES, settle_seconds=1)
    await lake.look(0)
    lake.put(**{f"{'n' * 100}{number}": "1" for number in range(1500)})
    await lake.look()
    await lake.look(1)

    events = await lake.events()
    assert len(events) > 1
    assert [event.data["part"] for event in events] == list(range(1, len(events) + 1))
    assert len({uri for event in events for uri in event.data["uris"]}) == 1500


async def test_a_prefix_is_told_as_a_whole(lake: Lake) -> None:
    await lake.declare("s3://lake/daily/", ParameterSpec(name="raw", type="Directory", read="directory"), settle_seconds=5)
    await lake.look(0)
    lake.put(a="1", b="1")

    assert [await lake.look(), await lake.look(5), await lake.look()] == [0, 1, 0]
    (event,) = await lake.events()
    assert event.type == "penstock.data.prefix.changed"
    assert event.data["uri"] == "s3://lake/daily/"
    ref = await lake.datastores.take("s3://lake/daily/", "directory", event.data["mark"])
    assert ref.kind == "directory"


async def test_a_file_in_a_folder_is_told_once_nobody_writes_it(lake: Lake) -> None:
    await lake.declare("file:///drops/*.csv", settle_seconds=5)
    growing: list[FoundObject] = []
    stamped = _Stamped()
    stamped.find = lambda _: _answer(growing)  # type: ignore[method-assign,assignment]  # a folder that a test fills
    watch = lake.watch(stamped)
    await watch.look(lake.bench.now)

    for mark, expected in (("1", 0), ("2", 0), ("2", 1), ("2", 0)):
        lake.bench.now += 61 * SECOND if mark == "1" else 5 * SECOND
        changed_at = lake.bench.now if not growing or growing[0].mark != mark else growing[0].changed_at
        growing[:] = [FoundObject(uri="file:///drops/a.csv", mark=mark, size=1, changed_at=changed_at)]
        assert await watch.look(lake.bench.now) == expected


async def _answer(found: list[FoundObject]) -> list[FoundObject]:
    return list(found)


async def test_several_coordinators_make_one_event_of_a_change(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    for number in range(5):
        lake.put(a=str(number))
        lake.bench.now += 60 * SECOND
        made = await asyncio.gather(*(lake.watch().look(lake.bench.now) for _ in range(4)))
        assert sum(made) == 1


class _Dying:
    """A store whose process dies when it is to write what was found."""

    is_concurrent = False

    def __init__(self, store: Store, after: int) -> None:
        self._store = store
        self._left = after
        self.read = store.read
        self.close = store.close

    async def transaction(self, function: Any) -> Any:
        if self._left == 0:
            raise StoreUnavailable("dead")
        self._left -= 1
        return await self._store.transaction(function)


async def test_a_look_whose_process_died_is_done_by_another_one(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    lake.put(a="1")
    lake.bench.now += 60 * SECOND
    dying = Watch(_Dying(lake.bench.store, 1), lake.datastores, lambda: lake.bench.now, lambda: None)
    with pytest.raises(StoreUnavailable):
        await dying.look(lake.bench.now)

    assert await lake.look(1) == 0
    assert await lake.look(CLAIM_SECONDS) == 1
    assert await lake.named() == ["a"]


async def test_a_first_look_whose_process_died_leaves_what_was_there_untold(lake: Lake) -> None:
    lake.put(old="1")
    await lake.declare()
    dying = Watch(_Dying(lake.bench.store, 1), lake.datastores, lambda: lake.bench.now, lambda: None)
    with pytest.raises(StoreUnavailable):
        await dying.look(lake.bench.now)

    assert await lake.look(CLAIM_SECONDS + 1) == 0


async def test_what_comes_of_a_look_that_took_too_long_does_not_count(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    lake.put(a="1")
    reached, go_on = asyncio.Event(), asyncio.Event()

    class Slow(_Stamped):
        @override
        async def find(self, uri: str) -> list[FoundObject]:
            found = await lake.datastores.find(uri)
            reached.set()
            await go_on.wait()
            return found

    lake.bench.now += 60 * SECOND
    slow = asyncio.create_task(lake.watch(Slow()).look(lake.bench.now))
    await reached.wait()
    assert await lake.look(CLAIM_SECONDS) == 1
    go_on.set()

    assert await slow == 0
    assert await lake.named() == ["a"]


async def test_a_datastore_that_is_away_is_told_and_nothing_is_lost(lake: Lake) -> None:
    trigger_no = await lake.declare()
    lake.put(old="1")
    lake.datastores.place.is_away = True
    await lake.look(0)
    assert "away" in (await lake.bench.do(lambda connection: troubles_of(connection, trigger_no)))[0]

    lake.datastores.place.is_away = False
    await lake.look()
    lake.put(a="1")
    lake.datastores.place.is_away = True
    await lake.look()
    lake.datastores.place.is_away = False
    await lake.look()

    assert await lake.named() == ["a"]
    assert await lake.bench.do(lambda connection: troubles_of(connection, trigger_no)) == {}


async def test_what_is_odd_about_one_place_keeps_no_other_from_being_looked_at(lake: Lake) -> None:
    await lake.declare()
    odd = {"kind": "data", "uri": "s3://odd/*.csv", "poll_seconds": 60}
    broken = (await lake.bench.declare(trigger("broken", on=odd))).trigger_no
    trigger_no = (await lake.bench.declare(trigger("odd", on=odd))).trigger_no
    await lake.bench.do(lambda connection: _break(connection, trigger_no=broken))

    class Odd(_Stamped):
        @override
        async def find(self, uri: str) -> list[FoundObject]:
            if uri.startswith("s3://odd"):
                raise ZeroDivisionError
            return await lake.datastores.find(uri)

    await lake.watch(Odd()).look(lake.bench.now)
    lake.put(a="1")
    lake.bench.now += 60 * SECOND

    assert await lake.watch(Odd()).look(lake.bench.now) == 1
    assert "ZeroDivisionError" in (await lake.bench.do(lambda connection: troubles_of(connection, trigger_no)))[0]


_break = Statement("UPDATE trigger_version SET definition = '{}' WHERE trigger_no = :trigger_no")


async def test_data_that_is_not_declared_is_not_read(lake: Lake) -> None:
    trigger_no = await lake.declare("s3://secrets/*.csv")
    await lake.look(0)

    assert "declared" in (await lake.bench.do(lambda connection: troubles_of(connection, trigger_no)))[0]
    view = await lake.bench.do(lambda connection: trigger_view(connection, "default", "retrain", lake.bench.now))
    assert "declared" in view.trouble


async def test_a_hint_has_the_look_happen_now(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    lake.put(a="1")
    lake.bench.now += 5 * SECOND
    hinted = [f"s3://lake/{name}" for name in ("daily/a.csv", "other/a.csv")]

    assert await lake.bench.do(lambda connection: hint(connection, "default", hinted[1:], lake.bench.now)) == 0
    assert await lake.look(0) == 0
    assert await lake.bench.do(lambda connection: hint(connection, "default", hinted, lake.bench.now)) == 1
    assert await lake.look(0) == 1


async def test_a_buckets_notification_has_the_look_happen_now(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    lake.put(a="1")
    lake.bench.now += 5 * SECOND
    told = CloudEvent(id="1", source="aws:s3", type="com.amazonaws.s3.ObjectCreated:Put", data={"uri": "s3://lake/daily/a.csv"})
    odd = [
        CloudEvent(id=str(number), source="x", type=told.type, data=data)
        for number, data in enumerate((None, "uri", ["uri"], 7, {"uri": 7}))
    ]

    await lake.bench.send(*odd)
    assert await lake.look(0) == 0
    await lake.bench.send(told)

    assert await lake.look(0) == 1


async def test_hints_in_plenty_cause_few_looks_and_lose_nothing(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    made = 0
    for number in range(20):
        lake.put(**{f"n{number}": "1"})
        lake.bench.now += SECOND // 10
        await lake.bench.do(lambda connection: hint(connection, "default", ["s3://lake/daily/x.csv"], lake.bench.now))
        made += await lake.look(0) > 0
    await lake.look(2)

    assert made <= 2
    assert len(await lake.named()) == 20


async def test_a_hint_during_a_look_has_another_one_follow(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)

    class Hinted(_Stamped):
        @override
        async def find(self, uri: str) -> list[FoundObject]:
            found = await lake.datastores.find(uri)
            lake.put(late="1")
            await lake.bench.do(lambda connection: hint(connection, "default", ["s3://lake/daily/late.csv"], lake.bench.now))
            return found

    lake.bench.now += 60 * SECOND
    assert await lake.watch(Hinted()).look(lake.bench.now) == 0

    assert await lake.look(1) == 1


async def test_an_edited_trigger_knows_what_its_earlier_version_saw(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    lake.put(a="1")
    await lake.look()
    source = {"kind": "data", "uri": "s3://lake/daily/*.csv", "poll_seconds": 60}
    await lake.bench.declare(trigger(on=source, tags={"edited": "yes"}))
    lake.put(b="1")

    assert await lake.look() == 1
    assert await lake.named() == ["a", "b"]


async def test_a_paused_trigger_is_looked_at_and_an_inert_one_is_not(lake: Lake) -> None:
    await lake.declare()
    await lake.look(0)
    await lake.bench.do(lambda connection: set_state(connection, "default", "retrain", "paused", lake.bench.now))
    lake.put(a="1")
    assert await lake.look() == 1

    await lake.bench.do(lambda connection: _set_inert(connection))
    lake.put(b="1")
    assert await lake.look() == 0
    assert await lake.bench.do(next_look_at) is None


_set_inert = Statement("UPDATE trigger_version SET state = 'inert'")


async def test_looks_go_on_by_themselves(lake: Lake) -> None:
    await lake.declare(poll_seconds=1)
    noticed = asyncio.Event()
    watch = Watch(lake.bench.store, lake.datastores, lambda: lake.bench.now, noticed.set)
    running = asyncio.create_task(watch.run())
    async with asyncio.timeout(30):
        while await lake.bench.do(next_look_at) == lake.bench.now:
            await asyncio.sleep(0.01)
        lake.put(a="1")
        lake.bench.now += SECOND
        await noticed.wait()
    running.cancel()

    assert await lake.named() == ["a"]
