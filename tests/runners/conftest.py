"""A workbench for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.transport.artifact_stores.folder import FolderArtifactStore
from tests.runners.docker_bench import DockerBench, docker_bench
from tests.runners.workbench import Workbench
from tests.servers.docker import DockerEngine


@pytest.fixture
async def workbench(tmp_path: Path) -> AsyncIterator[Workbench]:
    bench = Workbench(tmp_path, FolderArtifactStore(tmp_path / "store"))
    yield bench
    await bench.close()


@pytest.fixture
async def containers(docker: DockerEngine, tmp_path: Path) -> AsyncIterator[DockerBench]:
    async with docker_bench(docker, tmp_path) as bench:
        yield bench
        assert bench.containers() == [], "a container was left behind"
