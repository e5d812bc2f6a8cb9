"""An index of packages without a network, and an engine and a project that use it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.deploy.embedded.client import EmbeddedClient
from tests.end_to_end.conftest import engine
from tests.end_to_end.user_project import UserProject
from tests.environments.package_index import PackageIndex


@pytest.fixture(scope="session")
def shared_index(tmp_path_factory: pytest.TempPathFactory) -> PackageIndex:
    index = PackageIndex(tmp_path_factory.mktemp("index") / "packages")
    index.add_installed()
    for version in ("1.0", "2.0"):
        index.add("pebble", version)
    index.add("boulder", "1.0", requires="pebble<2")
    return index


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uv-cache")


@pytest.fixture(autouse=True)
def index(shared_index: PackageIndex, uv_cache: Path, monkeypatch: pytest.MonkeyPatch) -> PackageIndex:
    """The index that uv uses; no other, and no configuration of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CONFIG_FILE", str(shared_index.configuration))
    monkeypatch.setenv("UV_CACHE_DIR", str(uv_cache))
    return shared_index


@pytest.fixture
def client(private_home: Path) -> Iterator[EmbeddedClient]:
    with engine(private_home) as client:
        yield client


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: EmbeddedClient) -> Iterator[UserProject]:
    project = UserProject(tmp_path / "project", monkeypatch, client)
    yield project
    project.forget()
