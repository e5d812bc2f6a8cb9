"""A bench on each kind of store."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from penstock.engine.store import Store
from penstock.engine.stores.postgres import PostgresStore
from penstock.engine.stores.sqlite import MemoryStore
from tests.engine.events.bench import Bench, parameter


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else PostgresStore(request.getfixturevalue("database"))
    yield made
    await made.close()


@pytest.fixture
def bare(store: Store) -> Bench:
    """Nothing is published."""
    return Bench(store)


@pytest_asyncio.fixture
async def bench(bare: Bench) -> Bench:
    """The pipeline `flow` is published, with a parameter `rows`."""
    await bare.publish(parameter("rows"))
    return bare
