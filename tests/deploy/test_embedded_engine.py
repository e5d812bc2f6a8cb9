"""The embedded engine's end, in whichever thread and process it comes."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from penstock.contracts.errors import StoreUnavailable
from penstock.deploy.embedded.engine import EmbeddedEngine


async def never(entered: threading.Event) -> None:
    entered.set()
    await asyncio.Event().wait()


def test_who_waits_in_another_thread_is_told_when_the_engine_is_closed(private_home: Path) -> None:
    engine = EmbeddedEngine(private_home)
    entered, told = threading.Event(), list[Exception]()

    def wait() -> None:
        try:
            engine.call(never(entered))
        except StoreUnavailable as error:
            told.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    assert entered.wait(10)

    engine.close()
    waiting.join(10)

    assert "is closed; connect to it again" in str(told)


def test_closing_twice_is_closing_once(private_home: Path) -> None:
    engine = EmbeddedEngine(private_home)

    engine.close()
    engine.close()


@pytest.mark.skipif(sys.platform == "win32", reason="it has no fork")
def test_a_fork_leaves_its_parents_engine_alone(private_home: Path) -> None:
    engine = EmbeddedEngine(private_home)
    engine.serve()
    assert engine.incarnation is not None
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            engine.call(never(threading.Event()))
        except StoreUnavailable as error:
            engine.close()
            os._exit(0 if "another process" in str(error) else 1)
        os._exit(2)

    assert os.waitpid(child, 0)[1] == 0
    assert (private_home / "processes" / engine.incarnation.name).exists()
    engine.close()


def test_a_process_that_ends_while_a_run_goes_on_says_nothing_of_it(private_home: Path, tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(
        textwrap.dedent("""
            import time
            from penstock.sdk import pipeline, step

            @step
            def slow(x: int) -> int:
                time.sleep(x)
                return x

            @pipeline
            def flow(x: int = 60) -> int:
                return slow(x)
            """)
    )

    ended = subprocess.run(
        [sys.executable, "-c", "import flow; run = flow.flow.submit(); print(run.state.value)"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert ended.stdout.splitlines() == ["running"]
    assert ended.stderr == ""
