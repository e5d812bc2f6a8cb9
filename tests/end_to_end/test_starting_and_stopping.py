"""Runs from Python: started without waiting, waited for, cancelled, awaited; and scripts that forget their guard."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.contracts.errors import RunFailed
from penstock.contracts.states import RunState
from penstock.sdk.runs.state_home import using_engine
from tests.end_to_end.user_project import UserProject, begun, until

GATED = """
import time
from pathlib import Path
from penstock.sdk import pipeline, step

@step
def wait(gate: str) -> int:
    Path(gate).with_name("started").touch()
    while not Path(gate).exists():
        time.sleep(0.01)
    return 1

@step
def after(x: int) -> int:
    return x + 1

@pipeline
def flow(gate: str) -> int:
    return after(wait(gate))
"""
UNGUARDED = """
from penstock.sdk import pipeline, step

@step
def one() -> int:
    return 1

@pipeline
def flow() -> int:
    return one()

print(flow.run().result())
"""


@pytest.fixture
def gate(project: UserProject, tmp_path: Path) -> Path:
    """A project whose step waits for this file, and makes `started` beside it."""
    project.write("pipeline.py", GATED)
    return tmp_path / "gate"


def test_submit_returns_while_the_run_runs_and_wait_returns_when_it_ended(project: UserProject, gate: Path) -> None:
    run = begun(project.client, project.pipeline(), gate=str(gate))
    until(gate.with_name("started").exists)
    state = run.state
    gate.touch()

    assert state is RunState.RUNNING
    assert run.wait().state is RunState.SUCCEEDED
    assert run.result() == 2


def test_a_cancelled_run_ends_and_what_waits_is_not_begun(project: UserProject, gate: Path) -> None:
    run = begun(project.client, project.pipeline(), gate=str(gate))
    until(gate.with_name("started").exists)
    run.cancel("enough")

    assert run.wait().state is RunState.CANCELLED
    assert not any(step_run.attempts for step_run in run["after"])
    with pytest.raises(RunFailed, match="cancelled"):
        run.result()


async def test_an_awaited_run_leaves_the_event_loop_to_others(project: UserProject, gate: Path) -> None:
    with using_engine(project.client):
        task = asyncio.create_task(project.pipeline().arun(gate=str(gate)))
        async with asyncio.timeout(30):
            while not gate.with_name("started").exists():
                await asyncio.sleep(0.01)
            await asyncio.to_thread(gate.touch)
            run = await task

    assert run.result() == 2


async def test_cancelling_the_task_that_awaits_a_run_cancels_the_run(project: UserProject, gate: Path) -> None:
    with using_engine(project.client):
        task = asyncio.create_task(project.pipeline().arun(gate=str(gate)))
        async with asyncio.timeout(30):
            while not gate.with_name("started").exists():
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            def ended() -> bool:
                return project.client.run("last").state.is_terminal

            while not await asyncio.to_thread(ended):
                await asyncio.sleep(0.01)

    assert project.client.run("last").state is RunState.CANCELLED


def test_a_script_without_a_guard_is_shown_the_guard(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    variables = {**os.environ, "PENSTOCK_HOME": str(tmp_path / "state")}

    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 1
    assert 'if __name__ == "__main__":' in done.stderr
    assert "flow.run(...)" in done.stderr
