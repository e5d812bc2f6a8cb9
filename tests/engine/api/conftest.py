"""Where the API of a test keeps its state: in memory, and where a test asks for it, in a database too."""

import pytest

from penstock.engine.stores.postgres import PostgresStore
from tests.engine.api import serving


@pytest.fixture(params=["memory", "postgres"])
def each_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API of the test keeps its state in memory, then in a database of the test's own."""
    if request.param == "postgres":
        url = request.getfixturevalue("database")
        monkeypatch.setattr(serving, "make_store", lambda: PostgresStore(url))
