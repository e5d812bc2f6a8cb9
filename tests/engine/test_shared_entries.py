"""Two engines with rows of their own on one artifact store and one shared cache: what one has made is a hit for the other."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import pytest

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.bindings import FromNode
from penstock.contracts.errors import StoreUnavailable
from penstock.contracts.states import RunState
from penstock.engine.coordinator import CoordinatorSettings
from penstock.engine.shared_entries import SharedEntries
from penstock.engine.stores.sqlite import MemoryStore
from penstock.transport.artifact_stores.memory import MemoryArtifactStore
from penstock.transport.shared_caches.memory import MemorySharedCache
from tests.engine.cluster import Cluster, pipeline, serving, step

FLOW = pipeline(step("one"), step("two", inputs={"before": FromNode(node="one")}), outputs={"result": FromNode(node="two")})


class Engines:
    """`first` and `second` share artifacts and cache entries, and nothing else."""

    def __init__(self) -> None:
        self.cache = MemorySharedCache()
        self.artifacts = MemoryArtifactStore()

    async def one(self, stack: AsyncExitStack, *, writes: bool = True) -> Cluster:
        shared = SharedEntries(self.cache, writes=writes)
        settings = CoordinatorSettings(name="coordinator", token_key=b"key", shared=shared)
        cluster = Cluster(MemoryStore(), artifacts=self.artifacts, settings=settings)
        cluster.answer = lambda order: order.step_name
        return await stack.enter_async_context(serving(cluster))


@pytest.fixture
async def stack() -> AsyncGenerator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def run(cluster: Cluster) -> int:
    number = await cluster.submit(FLOW)
    assert await cluster.ended(number) == (RunState.SUCCEEDED, None)
    await cluster.coordinator.settled()
    return number


async def test_what_another_engine_has_made_is_a_hit(stack: AsyncExitStack) -> None:
    engines = Engines()
    first, second = await engines.one(stack), await engines.one(stack)
    await run(first)
    number = await run(second)
    assert (first.executed, second.executed) == (["one", "two"], [])
    assert await second.outputs(number) == {"result": "two"}


async def test_what_was_found_elsewhere_is_known_here_from_then_on(stack: AsyncExitStack) -> None:
    engines = Engines()
    first, second = await engines.one(stack), await engines.one(stack)
    await run(first)
    await run(second)
    engines.cache.entries.clear()
    await run(second)
    assert second.executed == []


async def test_an_engine_that_only_reads_tells_nobody(stack: AsyncExitStack) -> None:
    engines = Engines()
    await run(await engines.one(stack, writes=False))
    assert engines.cache.entries == {}


async def test_an_entry_whose_bytes_are_gone_is_a_miss(stack: AsyncExitStack) -> None:
    engines = Engines()
    first, second = await engines.one(stack), await engines.one(stack)
    digest = await engines.artifacts.write(b"model")
    model: Value = ArtifactRef(uri=f"cas:{digest}", digest=digest, size=5, media_type="text/plain")
    first.answer = lambda order: first.completed(order, outputs={"result": model})
    await run(first)
    await engines.artifacts.delete(digest)
    await run(second)
    assert second.executed == ["one", "two"]


async def test_bytes_that_are_no_entry_are_a_miss(stack: AsyncExitStack) -> None:
    engines = Engines()
    first, second = await engines.one(stack), await engines.one(stack)
    await run(first)
    for path, junk in zip(engines.cache.entries, (b"\xff junk", b'{"version":2,"outputs":{}}'), strict=True):
        engines.cache.entries[path] = junk
    await run(second)
    assert second.executed == ["one", "two"]


async def test_a_shared_cache_that_is_away_costs_nothing_but_hits(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = Engines()
    cluster = await engines.one(stack)

    async def away(*_: object) -> dict[str, bytes]:
        raise StoreUnavailable("the bucket is away")

    monkeypatch.setattr(engines.cache, "get_many", away)
    monkeypatch.setattr(engines.cache, "put", away)
    await run(cluster)
    assert cluster.executed == ["one", "two"]
