"""From data that came to the run on exactly that data."""

import asyncio
import json
from typing import Any

import pytest

from penstock.contracts.artifacts import ListValue
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.spec import ParameterSpec
from penstock.engine.core.rows import unpack_values
from penstock.engine.events.deciding import decide_new
from penstock.engine.events.fetching import Fetching
from penstock.engine.events.watching import Watch
from penstock.engine.store import Store
from penstock.transport.artifact_stores.memory import MemoryArtifactStore
from penstock.transport.datastores.memory import MemoryDatastores
from tests.engine.events.bench import SECOND, Bench, trigger

FILE = ParameterSpec(name="raw", type="File", read="file")
FILES = ParameterSpec(name="raw", type="list[File]", read="object")
FOLDER = ParameterSpec(name="raw", type="Directory", read="directory")


class Lake:
    """A trigger on data, its datastore, and what the event service does, step by step."""

    def __init__(self, store: Store) -> None:
        self.bench = Bench(store)
        self.artifacts = MemoryArtifactStore()
        self.datastores = MemoryDatastores(self.artifacts)
        self.contents = self.datastores.place.contents

    async def watch(self, parameter: ParameterSpec, uri: str = "s3://lake/*.csv") -> None:
        await self.bench.publish(parameter)
        await self.bench.declare(trigger(on={"kind": "data", "uri": uri, "poll_seconds": 60, "settle_seconds": 1}))
        await self.notice()

    async def notice(self, looks: int = 1) -> None:
        """Looks, and decides what was noticed."""
        for _ in range(looks):
            await Watch(self.bench.store, self.datastores, lambda: self.bench.now, lambda: None).look(self.bench.now)
            self.bench.now += 60 * SECOND
        await self.bench.do(lambda connection: decide_new(connection, self.bench.now))

    async def fetch(self) -> None:
        fetching = Fetching(self.bench.store, self.datastores, self.artifacts, lambda: self.bench.now)
        async with asyncio.TaskGroup() as tasks:
            fetching.start(tasks, self.bench.decided.append)

    async def inputs(self) -> list[Any]:
        return [unpack_values(bytes(row[1]))["raw"] for row in await self.bench.run_rows()]


@pytest.fixture
def lake(store: Store) -> Lake:
    return Lake(store)


async def test_each_object_is_a_run_and_the_same_bytes_are_the_same_input(lake: Lake) -> None:
    await lake.watch(FILE)
    lake.contents |= {"s3://lake/a.csv": b"1", "s3://lake/b.csv": b"1", "s3://lake/c.csv": b"2"}
    await lake.notice(2)
    await lake.fetch()

    # Their data is fetched side by side: whichever is there first is the first run.
    same = [ref for ref in await lake.inputs() if ref.digest == digest_bytes(b"1")]
    assert len(same) == 2
    assert same[0] == same[1]
    assert len(await lake.inputs()) == 3
    (told,) = [row[4] for row in await lake.bench.run_rows() if "c.csv" in row[4]]
    assert json.loads(told)["input.raw"].split()[::2] == ["s3://lake/c.csv", digest_bytes(b"2")]


async def test_a_settled_batch_is_one_run_of_all_its_files(lake: Lake) -> None:
    await lake.watch(FILES)
    lake.contents |= {"s3://lake/b.csv": b"2", "s3://lake/a.csv": b"1"}
    await lake.notice(3)
    await lake.fetch()

    (value,) = await lake.inputs()
    assert isinstance(value, ListValue)
    assert [ref.digest for ref in value.list] == [digest_bytes(b"1"), digest_bytes(b"2")]  # type: ignore[union-attr]  # files


async def test_a_folder_is_one_run_of_all_in_it(lake: Lake) -> None:
    await lake.watch(FOLDER, "s3://lake/tree/")
    lake.contents |= {"s3://lake/tree/a": b"1", "s3://lake/tree/b/c": b"2", "s3://lake/other": b"3"}
    await lake.notice(3)
    await lake.fetch()

    (tree,) = await lake.inputs()
    assert tree == await lake.datastores.take("s3://lake/tree/", "directory")


@pytest.mark.parametrize(("parameter", "uri"), [(FILE, "s3://lake/*.csv"), (FILES, "s3://lake/*.csv"), (FOLDER, "s3://lake/")])
async def test_data_that_changed_since_it_was_noticed_makes_no_run_but_a_later_one(lake: Lake, parameter: ParameterSpec, uri: str) -> None:
    await lake.watch(parameter, uri)
    lake.contents["s3://lake/a.csv"] = b"1"
    await lake.notice(3)
    lake.contents["s3://lake/a.csv"] = b"2"
    await lake.fetch()
    assert await lake.inputs() == []
    assert await lake.bench.outcomes() == ["failed"]

    await lake.notice(3)
    await lake.fetch()

    assert len(await lake.inputs()) == 1
    assert await lake.bench.outcomes() == ["failed", "started"]


async def test_data_that_is_gone_again_makes_no_run(lake: Lake) -> None:
    await lake.watch(FILE)
    lake.contents["s3://lake/a.csv"] = b"1"
    await lake.notice(2)
    del lake.contents["s3://lake/a.csv"]
    await lake.fetch()

    assert await lake.inputs() == []
    assert await lake.bench.outcomes() == ["failed"]
