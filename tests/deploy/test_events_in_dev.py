"""`penstock dev`: an event that is sent on a laptop starts the run there, by HTTP and by the rows that both see."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.processes import penstock, started
from tests.servers.process import free_port

PIPELINE = """
from penstock.sdk import OnEvent, OnRun, pipeline, step

@step
def double(n: int) -> int:
    return 2 * n

@step
def note(name: str) -> str:
    return name.upper()

@pipeline(triggers=[OnEvent("day.ready", where="event.data.rows > 10", parameters={"n": "event.data.rows"})])
def flow(n: int = 21) -> int:
    return double(n)

@pipeline(triggers=[OnRun("flow", parameters={"name": "event.data.pipeline"})])
def after(name: str = "nobody") -> str:
    return note(name)
"""


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_event_starts_a_run_on_a_laptop_and_that_run_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    for name in ("flow", "after"):
        published = penstock(tmp_path, "publish", f"pipeline.py:{name}", "--triggers", "on")
        assert published.returncode == 0, published.stderr
    # Nobody serves yet: it is kept, and decided by whoever does.
    early = penstock(tmp_path, "emit", "day.ready", "rows=12")
    assert early.returncode == 0, early.stderr
    with started(tmp_path, "dev", "--port", str(port := free_port())) as dev:
        try:
            assert dev.stdout is not None
            token = next(line.split()[1] for line in dev.stdout if line.startswith("token"))
            beside = penstock(tmp_path, "emit", "day.ready", "rows=5", "--wait")
            monkeypatch.setenv("PENSTOCK_API_URL", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("PENSTOCK_API_TOKEN", token)
            asked = penstock(tmp_path, "emit", "day.ready", "rows=13", "--wait", "--id", "once")
            again = penstock(tmp_path, "emit", "day.ready", "rows=13", "--wait", "--id", "once")
            until(lambda: penstock(tmp_path, "runs", "ls").stdout.count("succeeded") == 4)
            listed = penstock(tmp_path, "runs", "ls").stdout
            dev.send_signal(signal.SIGINT)
            dev.wait(30)
        finally:
            dev.kill()

    assert "not matched" in beside.stdout.replace("_", " ")
    assert "started" in asked.stdout
    assert "started" in again.stdout
    assert [name in listed for name in ("flow-1", "flow-2", "flow-3", "after-1", "after-2", "after-3")] == [True, True, False] * 2
    assert dev.returncode == 0
