"""The API on an embedded engine, inside the process that asks."""

from pathlib import Path

import pytest

from penstock.contracts.errors import InvalidInput
from penstock.deploy.embedded.client import EmbeddedClient


def test_an_embedded_engine_answers_as_services_do(tmp_path: Path) -> None:
    client = EmbeddedClient(tmp_path / "home")
    try:
        assert client.connection.get("/runs").json()["runs"] == []
        with pytest.raises(InvalidInput, match="no run"):
            client.connection.get("/runs/nowhere")
    finally:
        client.close()
