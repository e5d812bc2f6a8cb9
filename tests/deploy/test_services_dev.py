"""`penstock dev`: everything in one process, on nothing."""

import signal
import stat
from pathlib import Path

import pytest

from tests.deploy.processes import penstock, started
from tests.servers.process import free_port

PIPELINE = """
from penstock.sdk import pipeline, step

@step(pool="gpu")
def double(n: int) -> int:
    return 2 * n

@pipeline
def flow(n: int = 21) -> int:
    return double(n)
"""


def test_a_laptop_serves_runs_without_any_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    port = free_port()
    with started(tmp_path, "dev", "--port", str(port)) as dev:
        try:
            assert dev.stdout is not None
            token = next(line.split()[1] for line in dev.stdout if line.startswith("token"))
            again = penstock(tmp_path, "dev", "--port", str(free_port()))
            monkeypatch.setenv("PENSTOCK_API_URL", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("PENSTOCK_API_TOKEN", token)
            submitted = penstock(tmp_path, "submit", "pipeline.py", "--follow")
            dev.send_signal(signal.SIGINT)
            dev.wait(30)
        finally:
            dev.kill()

    assert again.returncode == 2
    assert "another `penstock dev` serves" in again.stderr
    assert submitted.returncode == 0, submitted.stderr + submitted.stdout
    assert "result = 42" in submitted.stdout
    assert dev.returncode == 0
    kept = tmp_path / "home" / "dev" / "api-token"
    assert kept.read_text() == token
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
