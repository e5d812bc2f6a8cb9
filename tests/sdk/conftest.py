"""What tests of the SDK share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sdk.written_project import WrittenProject


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenProject]:
    written = WrittenProject(tmp_path / "code", monkeypatch)
    yield written
    written.forget()
