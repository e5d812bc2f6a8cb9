"""`penstock dev`: everything in one process, on nothing."""

import signal
import stat
import time
from collections.abc import Callable
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

TOKEN = "a-token-of-a-test-that-is-long"
WAITING = """
import pathlib, time
from penstock.sdk import pipeline, step

HERE = pathlib.Path(FOLDER)

@step
def wait() -> int:
    (HERE / "begun").touch()
    while not (HERE / "go").exists():
        time.sleep(0.05)
    return 1

@pipeline
def flow() -> int:
    return wait()
"""


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


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
            monkeypatch.delenv("PENSTOCK_API_URL")
            beside = penstock(tmp_path, "run", "pipeline.py")
            listed = penstock(tmp_path, "runs", "ls")
            dev.send_signal(signal.SIGINT)
            dev.wait(30)
        finally:
            dev.kill()

    assert again.returncode == 2
    assert "another `penstock dev` serves" in again.stderr
    assert "1 hit" in beside.stdout + beside.stderr, "what was computed for the one is a hit for the other"
    assert "flow-1" in listed.stdout
    assert "flow-2" in listed.stdout
    assert submitted.returncode == 0, submitted.stderr + submitted.stdout
    assert "result = 42" in submitted.stdout
    assert dev.returncode == 0
    kept = tmp_path / "home" / "dev" / "api-token"
    assert kept.read_text() == token
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_it_goes_on_with_what_its_predecessor_was_killed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipeline.py").write_text(WAITING.replace("FOLDER", repr(str(tmp_path))))
    monkeypatch.setenv("PENSTOCK_API_TOKEN", TOKEN)
    monkeypatch.setenv("PENSTOCK_PATIENCE_SECONDS", "1")
    with started(tmp_path, "dev", "--port", str(port := free_port())) as dev:
        try:
            assert dev.stdout is not None
            next(line for line in dev.stdout if line.startswith("slots"))
            monkeypatch.setenv("PENSTOCK_API_URL", f"http://127.0.0.1:{port}")
            assert penstock(tmp_path, "submit", "pipeline.py").returncode == 0
            until(lambda: (tmp_path / "begun").exists())
        finally:
            dev.kill()
    monkeypatch.delenv("PENSTOCK_API_URL")
    left = penstock(tmp_path, "runs", "ls")
    (tmp_path / "go").touch()
    with started(tmp_path, "dev", "--port", str(port)) as dev:
        try:
            until(lambda: "succeeded" in penstock(tmp_path, "runs", "ls").stdout, 60)
        finally:
            dev.kill()

    assert "running" in left.stdout
