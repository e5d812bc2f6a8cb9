"""GPUs: which there are, who is given which, and what a step sees of them. The library that finds them is faked."""

# ruff: noqa: N802  # the library's own names

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from penstock.contracts.messages import Completed, Order
from penstock.contracts.spec import ResourcesSpec, StepSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.devices import Devices, Lease, NotEnoughGpus
from penstock.runners.gpus import Gpu, nvml_gpus, visible
from penstock.runners.launcher import ReportProgress
from penstock.runners.launchers.memory import MemoryLauncher
from penstock.runners.launchers.on_gpus import LauncherOnGpus
from penstock.runners.launchers.process import ProcessLauncher
from penstock.runners.provision import Provision
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from tests.runners.workbench import Workbench, a_step, an_order, unheard, until

TWO = (Gpu(0, "GPU-aa"), Gpu(1, "GPU-bb"))
ONE = ResourcesSpec(gpu=1)
NONE = ResourcesSpec()


class LibraryError(Exception):
    pass


@dataclass
class FakeNvml:
    """`uuids` of devices, each with those of its instances; None: there is no driver."""

    uuids: dict[str, list[str]] | None
    is_open: bool = False
    asked: list[str] = field(default_factory=list[str])

    NVMLError = LibraryError

    def nvmlInit(self) -> None:
        if self.uuids is None:
            raise LibraryError("Driver Not Loaded")
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:
        return len(self.uuids or {})

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return list(self.uuids or {})[index]

    def nvmlDeviceGetUUID(self, handle: Any) -> str | bytes:
        return str(handle).encode()

    def nvmlDeviceGetName(self, handle: Any) -> str | bytes:
        return "NVIDIA H200"

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        return SimpleNamespace(total=2**37)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any) -> int:
        parts = (self.uuids or {})[handle]
        if not parts:
            raise LibraryError("Not Supported")
        return len(parts) + 1

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Any, index: int) -> str:
        parts = (self.uuids or {})[device]
        if index >= len(parts):
            raise LibraryError("Not Found")
        return parts[index]


# Which there are


def test_gpus_are_listed_with_their_names_everywhere_and_their_memory() -> None:
    library = FakeNvml({"GPU-aa": [], "GPU-bb": []})

    found = nvml_gpus(library)

    assert [(gpu.index, gpu.uuid, gpu.name, gpu.memory_bytes) for gpu in found] == [
        (0, "GPU-aa", "NVIDIA H200", 2**37),
        (1, "GPU-bb", "NVIDIA H200", 2**37),
    ]
    assert not library.is_open


def test_of_a_divided_gpu_its_instances_are_listed() -> None:
    assert [gpu.uuid for gpu in nvml_gpus(FakeNvml({"GPU-aa": ["MIG-1", "MIG-2"], "GPU-bb": []}))] == ["MIG-1", "MIG-2", "GPU-bb"]


def test_without_a_driver_there_are_none_and_the_log_says_why() -> None:
    with capture_logs() as logs:
        assert nvml_gpus(FakeNvml(None)) == ()

    assert logs == [{"event": "gpus.none", "reason": "Driver Not Loaded", "log_level": "info"}]


@pytest.mark.parametrize(
    ("stated", "seen"),
    [
        (None, ["GPU-aa", "GPU-bb"]),
        ("", []),
        ("1", ["GPU-bb"]),
        ("1,0", ["GPU-bb", "GPU-aa"]),
        ("GPU-b", ["GPU-bb"]),
        ("0,7,1", ["GPU-aa"]),
        ("NoDevFiles", []),
    ],
)
def test_a_runner_uses_only_the_gpus_that_it_is_let_see(stated: str | None, seen: list[str]) -> None:
    assert [gpu.uuid for gpu in visible(TWO, stated)] == seen


# Who is given which


@dataclass
class Desk:
    """Devices, and a client that takes and gives back."""

    devices: Devices

    async def take(self, resources: ResourcesSpec = ONE, pool: str = "gpu") -> tuple[Order, Lease]:
        order = an_order().model_copy(update={"pool": pool})
        return order, await self.devices.take(order, resources)

    async def given(self, resources: ResourcesSpec = ONE, pool: str = "gpu") -> tuple[str, ...] | None:
        order, _ = await self.take(resources, pool)
        return self.devices.of(order)


async def test_an_attempt_has_its_gpu_to_itself_and_the_next_one_waits_for_it() -> None:
    desk = Desk(Devices(lambda: TWO))
    (first, lease), (second, _) = await desk.take(), await desk.take()
    third = asyncio.create_task(desk.take())
    await asyncio.sleep(0)
    taken = desk.devices.of(first)

    assert {taken, desk.devices.of(second)} == {("GPU-aa",), ("GPU-bb",)}
    assert not third.done()
    desk.devices.give_back(first, lease)
    order, _ = await third
    assert desk.devices.of(order) == taken
    assert desk.devices.of(first) is None


async def test_who_needs_two_is_not_overtaken_by_those_that_need_one() -> None:
    desk = Desk(Devices(lambda: TWO))
    first, lease = await desk.take()
    both = asyncio.create_task(desk.given(ResourcesSpec(gpu=2)))
    await asyncio.sleep(0)
    late = asyncio.create_task(desk.given())
    await asyncio.sleep(0)

    assert not late.done()
    desk.devices.give_back(first, lease)
    assert set(await both or ()) == {"GPU-aa", "GPU-bb"}
    assert not late.done()
    late.cancel()


async def test_one_that_waits_and_is_cancelled_leaves_its_turn_to_others() -> None:
    desk = Desk(Devices(lambda: TWO))
    first, lease = await desk.take()
    both = asyncio.create_task(desk.take(ResourcesSpec(gpu=2)))
    await asyncio.sleep(0)
    late = asyncio.create_task(desk.given())
    await asyncio.sleep(0)
    both.cancel()

    assert await late is not None
    desk.devices.give_back(first, lease)
    assert await desk.given() is not None


async def test_more_than_there_are_is_refused_with_both_figures() -> None:
    with pytest.raises(NotEnoughGpus, match="needs 3 GPUs, and this runner has 2"):
        await Desk(Devices(lambda: TWO)).take(ResourcesSpec(gpu=3))


async def test_slots_share_a_gpu_where_their_pool_says_so_and_never_with_one_that_needs_it_whole() -> None:
    desk = Desk(Devices(lambda: TWO, shares={"small": 0.5}))

    together = [await desk.given(NONE, "small") for _ in range(2)]
    alone = await desk.given(ONE, "gpu")
    another = asyncio.create_task(desk.given(NONE, "small"))
    await asyncio.sleep(0)

    assert together[0] == together[1]
    assert alone not in together
    assert not another.done()
    another.cancel()


async def test_thirds_of_a_gpu_make_a_whole_one_again() -> None:
    desk = Desk(Devices(lambda: TWO[:1], shares={"small": 1 / 3}))
    for order, lease in [await desk.take(NONE, "small") for _ in range(3)]:
        desk.devices.give_back(order, lease)

    assert await desk.given(ONE) == ("GPU-aa",)


async def test_who_states_none_sees_none_on_a_pool_and_all_of_them_on_a_laptop() -> None:
    assert await Desk(Devices(lambda: TWO)).given(NONE, "cpu") == ()
    assert await Desk(Devices(lambda: TWO, is_strict=False)).given(NONE, "cpu") is None


async def test_who_states_none_gets_what_a_slot_of_the_pool_has() -> None:
    assert len(await Desk(Devices(lambda: TWO, shares={"gpu": 1.0})).given(NONE, "gpu") or ()) == 1


async def test_a_laptop_with_fewer_runs_the_step_all_the_same() -> None:
    assert await Desk(Devices(lambda: TWO, is_strict=False)).given(ResourcesSpec(gpu=4)) is None


async def test_where_there_are_none_nothing_is_given_and_nothing_hidden() -> None:
    desk = Desk(Devices(tuple))

    assert await desk.given(ONE) is None
    assert await desk.given(NONE) is None


async def test_two_runners_of_a_machine_never_give_the_same(tmp_path: Path) -> None:
    here, there = (Desk(Devices(lambda: TWO, locks=tmp_path)) for _ in range(2))
    order, lease = await here.take()
    taken = here.devices.of(order)
    theirs = await there.given()
    waiting = asyncio.create_task(there.given())
    await asyncio.sleep(0)

    assert taken != theirs
    assert not waiting.done()
    here.devices.give_back(order, lease)
    async with asyncio.timeout(10):
        assert await waiting == taken


# How it ends


class EndsBadly(MemoryLauncher):
    @override
    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        raise RuntimeError


async def test_a_gpu_is_free_again_after_an_error_of_the_launcher() -> None:
    devices = Devices(lambda: TWO[:1])
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await LauncherOnGpus(EndsBadly({}), devices).execute(an_order(), a_step(resources=ONE), unheard)


async def test_a_step_that_needs_more_gpus_fails_and_says_what_to_do() -> None:
    launcher = LauncherOnGpus(MemoryLauncher({}), Devices(lambda: TWO))

    completed = await launcher.execute(an_order(), a_step(resources=ResourcesSpec(gpu=3)), unheard)

    assert completed.failure is not None
    assert (completed.outcome, completed.failure.kind) == (AttemptState.FAILED, FailureKind.ENVIRONMENT)
    assert "name a pool" in completed.failure.hint


# In guests

SEES = """
    import os
    at_import = os.environ.get("CUDA_VISIBLE_DEVICES")
    def main() -> list[str | None]:
        return [at_import, os.environ.get("CUDA_VISIBLE_DEVICES")]
    """


@asynccontextmanager
async def gpu_bench(folder: Path, devices: Devices) -> AsyncGenerator[tuple[Workbench, LauncherOnGpus]]:
    bench = Workbench(folder, FolderArtifactStore(folder / "store"))
    launcher = LauncherOnGpus(ProcessLauncher(bench.artifacts, folder / "state", Provision(devices=devices.of, grace_seconds=1.0)), devices)
    try:
        yield bench, launcher
    finally:
        await launcher.close()


@pytest.mark.parametrize("isolation", ["fork", "spawn", "reuse"])
async def test_a_step_and_its_module_see_the_gpu_that_they_were_given(tmp_path: Path, isolation: str) -> None:
    async with gpu_bench(tmp_path, Devices(lambda: TWO)) as (bench, launcher):
        snapshot = await bench.snapshot(SEES)
        with_one, without = a_step(resources=ONE, isolation=isolation), a_step(isolation=isolation)
        done = [await launcher.execute(an_order(step, snapshot), step, unheard) for step in (with_one, without)]

    given = bench.value(done[0])
    assert given in (["GPU-aa", "GPU-aa"], ["GPU-bb", "GPU-bb"])
    assert bench.value(done[1]) == ["", ""]


async def test_two_at_a_time_see_different_gpus(tmp_path: Path) -> None:
    async with gpu_bench(tmp_path, Devices(lambda: TWO)) as (bench, launcher):
        snapshot, step = await bench.snapshot(SEES), a_step(resources=ONE)
        done = await asyncio.gather(*(launcher.execute(an_order(step, snapshot), step, unheard) for _ in range(2)))

    assert {tuple(bench.value(completed)) for completed in done} == {("GPU-aa", "GPU-aa"), ("GPU-bb", "GPU-bb")}


async def test_a_variable_of_the_step_does_not_lead_to_others_gpus(tmp_path: Path) -> None:
    async with gpu_bench(tmp_path, Devices(lambda: TWO[:1])) as (bench, launcher):
        step = a_step(resources=ONE, env_vars={"CUDA_VISIBLE_DEVICES": "GPU-bb"})
        completed = await launcher.execute(an_order(step, await bench.snapshot(SEES)), step, unheard)

    assert bench.value(completed) == ["GPU-aa", "GPU-aa"]


async def test_a_laptops_step_sees_what_the_laptop_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    async with gpu_bench(tmp_path, Devices(lambda: TWO, is_strict=False)) as (bench, launcher):
        completed = await launcher.execute(an_order(a_step(), await bench.snapshot(SEES)), a_step(), unheard)

    assert bench.value(completed) == [None, None]


LASTS = """
    import os, pathlib, time
    def main(note: str) -> None:
        pathlib.Path(note).write_text(str(os.getpid()))
        time.sleep(60)
    """


async def test_the_gpu_of_an_attempt_that_is_killed_is_given_to_the_next_one(tmp_path: Path) -> None:
    note = tmp_path / "note"
    async with gpu_bench(tmp_path, Devices(lambda: TWO[:1])) as (bench, launcher):
        step = a_step(resources=ONE, output=None)
        order = an_order(step, await bench.snapshot(LASTS), inputs={"note": str(note)})
        first = asyncio.create_task(launcher.execute(order, step, unheard))
        await until(lambda: note.exists() and note.read_text() != "")
        os.kill(int(note.read_text()), signal.SIGKILL)
        killed = await first
        following = a_step(resources=ONE)
        completed = await launcher.execute(an_order(following, await bench.snapshot(SEES)), following, unheard)

    assert killed.outcome == AttemptState.FAILED
    assert bench.value(completed) == ["GPU-aa", "GPU-aa"]


async def test_the_gpu_of_a_cancelled_attempt_is_given_on_once_its_process_has_ended(tmp_path: Path) -> None:
    note = tmp_path / "note"
    devices = Devices(lambda: TWO[:1])
    async with gpu_bench(tmp_path, devices) as (bench, launcher):
        step = a_step(resources=ONE, output=None)
        order = an_order(step, await bench.snapshot(LASTS), inputs={"note": str(note)})
        first = asyncio.create_task(launcher.execute(order, step, unheard))
        await until(lambda: note.exists() and note.read_text() != "")
        guest = int(note.read_text())
        waiting = asyncio.create_task(Desk(devices).take())
        first.cancel()
        await waiting
        is_alive = psutil.pid_exists(guest)
        with pytest.raises(asyncio.CancelledError):
            await first

    assert not is_alive
