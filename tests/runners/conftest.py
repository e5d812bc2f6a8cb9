"""A workbench for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.transport.artifact_stores.folder import FolderArtifactStore
from tests.runners.workbench import Workbench


@pytest.fixture
async def workbench(tmp_path: Path) -> AsyncIterator[Workbench]:
    bench = Workbench(tmp_path, FolderArtifactStore(tmp_path / "store"))
    yield bench
    await bench.close()
