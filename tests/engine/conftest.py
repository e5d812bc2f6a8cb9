"""A ledger on an empty store for each test."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection

from penstock.engine.migration import migrate
from penstock.engine.stores.postgres import PostgresStore
from penstock.engine.stores.sqlite import connect
from tests.engine import cluster
from tests.engine.ledger import Ledger


@pytest.fixture(scope="session")
def empty_store() -> Iterator[Connection]:
    """A migrated store; tests take copies of it, since a migration takes longer than a test."""
    engine = connect(None, "BEGIN")
    with engine.begin() as connection:
        migrate(connection, "the store of the tests")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@contextmanager
def copy_of(store: Connection) -> Generator[Connection]:
    engine = connect(None, "BEGIN")
    with engine.connect() as connection:
        source, target = store.connection.driver_connection, connection.connection.driver_connection
        assert source is not None
        assert target is not None
        source.backup(target)
        yield connection
    engine.dispose()


@pytest.fixture
def ledger(empty_store: Connection) -> Iterator[Ledger]:
    with copy_of(empty_store) as connection:
        yield Ledger(connection)


@pytest.fixture
def scarce(empty_store: Connection) -> Iterator[Ledger]:
    """A ledger with one slot."""
    with copy_of(empty_store) as connection:
        yield Ledger(connection, slots=1)


@pytest.fixture(params=["memory", "postgres"])
def each_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters of the test keep their state in memory, then in a database of the test's own."""
    if request.param == "postgres":
        url = request.getfixturevalue("database")
        monkeypatch.setattr(cluster, "make_store", lambda: PostgresStore(url))
