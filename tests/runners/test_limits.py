"""Limits of time and memory, cancellation, and what is left when processes die."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from penstock.contracts.errors import InfrastructureError
from penstock.contracts.spec import ResourcesSpec
from penstock.contracts.states import AttemptState, FailureKind
from tests.runners.workbench import Workbench, an_order, unheard, until

FAMILY = """
    import os, subprocess, sys, time
    from pathlib import Path

    def main(folder: str) -> None:
        program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
        child = subprocess.Popen([sys.executable, "-c", program])
        (Path(folder) / "new").write_text(f"{os.getpid()} {child.pid}")
        (Path(folder) / "new").rename(Path(folder) / "pids")
        time.sleep(1000)
    """


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def started(script: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})


async def family(folder: Path) -> list[int]:
    await until((folder / "pids").exists)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


async def test_a_timeout_stops_the_whole_group(workbench: Workbench) -> None:
    completed = await workbench.run(FAMILY, inputs={"folder": str(workbench.folder)}, output=None, timeout_seconds=1.5)

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.TIMEOUT
    assert "1.5 s" in completed.failure.message
    pids = await family(workbench.folder)
    await until(lambda: not any(map(is_running, pids)))


async def test_a_step_that_ignores_sigterm_is_killed(workbench: Workbench) -> None:
    workbench.settings["grace_seconds"] = 0.2
    code = "import signal, time\ndef main() -> None:\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    time.sleep(1000)"

    completed = await workbench.run(code, output=None, timeout_seconds=0.5)

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.TIMEOUT


async def test_cancelling_stops_grandchildren(workbench: Workbench) -> None:
    task = asyncio.create_task(workbench.run(FAMILY, inputs={"folder": str(workbench.folder)}, output=None))
    pids = await family(workbench.folder)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await until(lambda: not any(map(is_running, pids)))


async def test_what_a_step_leaves_running_is_ended_with_it(workbench: Workbench) -> None:
    code = FAMILY.replace("time.sleep(1000)\n    ", "return None\n    ") + "\n"

    await workbench.run(code, inputs={"folder": str(workbench.folder)}, output=None)

    pids = await family(workbench.folder)
    await until(lambda: not any(map(is_running, pids)))


async def test_more_memory_than_stated_fails_the_attempt(workbench: Workbench) -> None:
    code = "import time\ndef main() -> None:\n    block = b'x' * 400_000_000\n    time.sleep(1000)"

    completed = await workbench.run(code, output=None, resources=ResourcesSpec(memory_bytes=200 * 2**20))

    assert completed.outcome == AttemptState.FAILED
    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.MEMORY
    assert "200 MiB" in completed.failure.message
    assert completed.peak_memory_bytes > 200 * 2**20


async def test_the_launcher_goes_on_after_its_zygote_was_killed(workbench: Workbench) -> None:
    code = "import os\ndef main() -> int:\n    return os.getppid()"
    step, snapshot = workbench.step(), await workbench.snapshot(code)
    zygote: int = workbench.value(await workbench.execute(step, snapshot))

    os.kill(zygote, signal.SIGKILL)
    await until(lambda: not is_running(zygote))

    try:
        completed = await workbench.execute(step, snapshot)
    except InfrastructureError:
        # It was asked for before the launcher had heard of the end.
        completed = await workbench.execute(step, snapshot)
    assert workbench.value(completed) != zygote


async def test_an_attempt_whose_zygote_is_killed_is_given_back(workbench: Workbench) -> None:
    step, snapshot = workbench.step(output=None), await workbench.snapshot(FAMILY)
    order = an_order(step, snapshot, inputs={"folder": str(workbench.folder)})
    task = asyncio.create_task(workbench.launcher.execute(order, step, unheard))
    pids = await family(workbench.folder)

    os.kill(psutil.Process(pids[0]).ppid(), signal.SIGKILL)

    with pytest.raises(InfrastructureError):
        await asyncio.wait_for(task, 60)
    await until(lambda: not any(map(is_running, pids)))


async def test_killing_the_process_of_the_launcher_leaves_no_process(tmp_path: Path) -> None:
    script = tmp_path / "engine.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import asyncio
            from pathlib import Path
            from penstock.transport.artifact_stores.folder import FolderArtifactStore
            from tests.runners.test_limits import FAMILY
            from tests.runners.workbench import Workbench

            folder = Path({str(tmp_path)!r})
            bench = Workbench(folder, FolderArtifactStore(folder / "store"))
            asyncio.run(bench.run(FAMILY, inputs={{"folder": str(folder)}}, output=None))
            """
        )
    )
    engine = started(script)
    pids = await family(tmp_path)
    zygote = psutil.Process(pids[0]).ppid()

    engine.kill()
    engine.wait()

    await until(lambda: not any(map(is_running, [*pids, zygote])))
