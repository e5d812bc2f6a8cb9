"""What a step keeps for its next attempt, which may run on another machine."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typing_extensions import override

from penstock.contracts.errors import StoreUnavailable
from penstock.contracts.states import AttemptState
from penstock.runners.checkpoints import checkpoint_name, new_folder, remove_abandoned
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from penstock.transport.checkpoint_stores.folder import FolderCheckpoints
from tests.runners.docker_bench import docker_bench
from tests.runners.workbench import Workbench, a_step, an_order
from tests.servers.docker import DockerEngine

DYING = """
    import os, signal
    from pathlib import Path
    from penstock.sdk import current_run

    def main() -> list[str]:
        checkpoint = current_run().checkpoint
        earlier = checkpoint.load()
        if earlier is not None:
            return [earlier.name, *(f"{path.name}: {path.read_text()}" for path in sorted(earlier.rglob("*")) if path.is_file())]
        kept = Path("kept")
        for text in ("first", "second"):
            (kept / "deep").mkdir(parents=True, exist_ok=True)
            (kept / "deep" / "epoch").write_text(text)
            (kept / "bias").write_text("0.5")
            checkpoint.save(kept)
        os.kill(os.getpid(), signal.SIGKILL)
"""
FOUND = ["kept", "bias: 0.5", "epoch: second"]


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[list[Workbench]]:
    """Two of them, which have nothing in common but a store of checkpoints."""
    found: list[Workbench] = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        bench = Workbench(tmp_path / name, FolderArtifactStore(tmp_path / name / "store"))
        bench.settings["checkpoints"] = FolderCheckpoints(tmp_path / "shared")
        found.append(bench)
    yield found
    for bench in found:
        await bench.close()


def kept(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]


async def test_another_machine_goes_on_from_what_a_killed_attempt_saved(machines: list[Workbench], tmp_path: Path) -> None:
    one, other = machines

    died = await one.run(DYING, order={"seed": "same"})
    assert died.outcome == AttemptState.FAILED
    assert len(kept(tmp_path)) == 2

    assert other.value(await other.run(DYING, order={"seed": "same"})) == FOUND
    assert kept(tmp_path) == [], "a checkpoint was kept though its step has succeeded"
    for bench in machines:
        assert not list(bench.artifacts.staging.glob("checkpoint-*")), "an attempt left its folders"


async def test_the_checkpoint_of_a_file_keeps_its_name(machines: list[Workbench]) -> None:
    code = """
        from pathlib import Path
        from penstock.sdk import current_run

        def main() -> list[str]:
            checkpoint = current_run().checkpoint
            assert checkpoint.load() is None
            Path("state.pt").write_text("one")
            checkpoint.save("state.pt")
            first = checkpoint.load()
            Path("state.pt").write_text("two")
            checkpoint.save(Path("state.pt").absolute())
            return [first.name, first.read_text(), checkpoint.load().read_text()]
    """

    assert machines[0].value(await machines[0].run(code)) == ["state.pt", "one", "two"]


async def test_a_store_that_is_away_ends_no_step_that_saves(machines: list[Workbench], tmp_path: Path) -> None:
    class Away(FolderCheckpoints):
        @override
        async def save(self, workspace: str, name: str, archive: Path) -> None:
            raise StoreUnavailable("nobody answers")

    bench = machines[0]
    bench.settings["checkpoints"] = Away(tmp_path / "shared")
    code = """
        from pathlib import Path
        from penstock.sdk import current_run

        def main() -> int:
            Path("state").write_text("one")
            current_run().checkpoint.save("state")
            return 1
    """

    completed = await bench.run(code)

    assert bench.value(completed) == 1
    assert "the checkpoint could not be stored, the one before stays: nobody answers" in await bench.log(completed)


def test_steps_that_are_not_cached_share_no_checkpoint() -> None:
    def name(cache: bool, run_id: str, index: tuple[int, ...] = ()) -> str:
        step = a_step(cache=cache)
        return checkpoint_name(an_order(step, seed="same", index=index).model_copy(update={"run_id": run_id}), step)

    assert name(True, "run-1") == name(True, "run-2")
    assert name(True, "run-1") != name(False, "run-1")
    assert len({name(False, "run-1"), name(False, "run-2"), name(False, "run-1", (0,)), name(False, "run-1", (1,))}) == 4


def test_what_killed_runners_left_is_removed_after_a_week(tmp_path: Path) -> None:
    old, young = new_folder(tmp_path), new_folder(tmp_path)
    for folder in (old, young):
        (folder / "shared" / "loaded-1").mkdir(parents=True)
    week_ago = time.time() - 8 * 24 * 3600
    for path in (old / "shared", old):
        os.utime(path, (week_ago, week_ago))

    remove_abandoned(tmp_path)

    assert [path for path in (old, young) if path.exists()] == [young]


async def test_a_container_goes_on_from_what_one_elsewhere_saved(docker: DockerEngine, tmp_path: Path) -> None:
    checkpoints = FolderCheckpoints(tmp_path / "shared")
    async with docker_bench(docker, tmp_path / "one", checkpoints=checkpoints) as one:
        died = await one.execute(one.function(), await one.bench.snapshot(DYING), seed="same")
        assert died.outcome == AttemptState.FAILED
        assert len(kept(tmp_path)) == 2

    async with docker_bench(docker, tmp_path / "other", checkpoints=checkpoints) as other:
        completed = await other.execute(other.function(), await other.bench.snapshot(DYING), seed="same")

    assert other.bench.value(completed) == FOUND
    assert kept(tmp_path) == []


async def test_a_container_can_save_no_file_of_the_host(docker: DockerEngine, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host")
    code = f"""
        import os
        from penstock.sdk import current_run

        def main() -> list[str]:
            checkpoint = current_run().checkpoint
            answers = []
            os.symlink({str(tmp_path / "secret")!r}, "/penstock/checkpoint/saved.tar")
            answers.append(checkpoint._ask(["save checkpoint"])[0])
            os.mkdir("/penstock/checkpoint/saved.tar")
            answers.append(checkpoint._ask(["save checkpoint"])[0])
            answers.append(checkpoint._ask(["save checkpoint"])[0])
            answers.append(checkpoint._ask(["load checkpoint"])[0])
            return answers
    """
    async with docker_bench(docker, tmp_path / "one", checkpoints=FolderCheckpoints(tmp_path / "shared")) as bench:
        completed = await bench.execute(bench.function(), await bench.bench.snapshot(code))

        assert bench.bench.value(completed) == ["failed", "failed", "failed", "none"]
    assert (tmp_path / "secret").read_text() == "of the host"
