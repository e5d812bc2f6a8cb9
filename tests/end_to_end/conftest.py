"""Real engines for the tests of this folder, and projects that run on them."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from penstock.deploy.embedded.client import EmbeddedClient, connect
from tests.end_to_end.user_project import UserProject


@contextmanager
def engine(home: Path, slots: int = 3) -> Generator[EmbeddedClient]:
    """An engine in this process. Closed, it leaves no process behind."""
    before = set(psutil.Process().children(recursive=True))
    client = connect(home, slots=slots)
    yield client
    client.close()
    _, alive = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=10)
    assert not alive, f"the engine left processes behind: {alive}"


@pytest.fixture(scope="module")
def shared_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClient]:
    """An engine for all tests of a module: what one test computed, another gets from the cache."""
    with engine(tmp_path_factory.mktemp("state")) as client:
        yield client


@pytest.fixture
def client(private_home: Path) -> Iterator[EmbeddedClient]:
    """An engine whose cache is empty."""
    with engine(private_home) as client:
        yield client


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: EmbeddedClient) -> Iterator[UserProject]:
    project = UserProject(tmp_path / "project", monkeypatch, client)
    yield project
    project.forget()
