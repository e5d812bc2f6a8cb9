"""Bytes that are gone or not what they were are computed again, never served."""

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.contracts.artifacts import ArtifactRef, DirectoryManifest, Value
from tests.end_to_end.user_project import UserProject, begun, executed, until

PIPELINE = """
import time
from collections.abc import Sequence
from pathlib import Path

from penstock.sdk import Directory, collect, each, pipeline, step

@step
def make(n: int) -> str:
    return "x" * n

@step
def measure(text: str) -> int:
    return len(text)

@pipeline
def flow(n: int = 10000) -> int:
    return measure(make(n))

@step(cache=False)
def hold(text: str, gate: str) -> int:
    Path(gate + ".waiting").touch()
    while not Path(gate).exists():
        time.sleep(0.01)
    return 1

@step
def measure_later(text: str, more: int) -> int:
    return len(text) + more

@pipeline
def of_gate(gate: str, n: int = 10000) -> int:
    made = make(n)
    return measure_later(made, hold(made, gate))

@step
def several(n: int) -> list[str]:
    return ["a" * n, "b" * n]

@step
def measure_all(texts: Sequence[str]) -> int:
    return sum(len(text) for text in texts)

@pipeline
def of_list(n: int = 10000) -> int:
    return measure_all(several(n))

@pipeline
def of_fan_out() -> int:
    return measure_all(collect(make(each([10000, 10001]))))

@step
def folder(n: int) -> Directory:
    Path("made").mkdir()
    Path("made/a.txt").write_text("a" * n)
    Path("made/b.txt").write_text("b" * n)
    return Directory("made")

@step
def measure_folder(made: Directory) -> int:
    return sum(len(file.path.read_text()) for file in made.files())

@pipeline
def of_folder(n: int = 10000) -> int:
    return measure_folder(folder(n))
"""
Damage = Callable[[Path], None]


def delete(path: Path) -> None:
    path.unlink()


def corrupt(path: Path) -> None:
    """Other bytes, just as many."""
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"?" + data[1:])


@pytest.fixture
def sized(project: UserProject) -> UserProject:
    project.write("pipeline.py", PIPELINE)
    return project


def stored(project: UserProject, ref: Value) -> Path:
    assert isinstance(ref, ArtifactRef)
    assert not ref.is_inline
    return project.client.local(ref)


@pytest.mark.parametrize("damage", [delete, corrupt])
def test_a_damaged_blob_is_recomputed_where_everything_would_be_a_hit(sized: UserProject, damage: Damage) -> None:
    first = sized.run()
    damage(stored(sized, first["make"][0].view.outputs["result"]))

    run = sized.run()

    assert executed(run) == ["make"]
    assert run["make"].result() == "x" * 10000


@pytest.mark.parametrize("damage", [delete, corrupt])
def test_a_damaged_blob_is_recomputed_before_its_reader_runs(sized: UserProject, damage: Damage) -> None:
    first = sized.run()
    damage(stored(sized, first["make"][0].view.outputs["result"]))
    sized.replace("pipeline.py", "return len(text)", "return len(text) + 1")

    run = sized.run()

    assert executed(run) == ["make", "measure"]
    assert run.result() == 10001


@pytest.mark.parametrize("damage", [delete, corrupt])
def test_a_damaged_item_of_a_list_artifact_is_recomputed(sized: UserProject, damage: Damage) -> None:
    first = sized.run("of_list")
    items = sized.client.value_items(first["several"][0].view.outputs["result"])
    damage(stored(sized, items[1]))

    run = sized.run("of_list")

    assert executed(run) == ["several"]
    assert run["several"].result() == ["a" * 10000, "b" * 10000]


@pytest.mark.parametrize("damage", [delete, corrupt])
def test_a_damaged_item_of_a_fan_out_is_recomputed_alone(sized: UserProject, damage: Damage) -> None:
    first = sized.run("of_fan_out")
    damage(stored(sized, first["make"][1].view.outputs["result"]))
    sized.replace("pipeline.py", "return sum(len(text) for text in texts)", "return 1 + sum(len(text) for text in texts)")

    run = sized.run("of_fan_out")

    assert executed(run) == ["make/1", "measure_all"]
    assert run.result() == 20002


@pytest.mark.parametrize("damage", [delete, corrupt])
def test_a_damaged_file_of_a_directory_is_recomputed(sized: UserProject, damage: Damage) -> None:
    first = sized.run("of_folder")
    damage(file_of(sized, first["folder"][0].view.outputs["result"], "b.txt"))

    run = sized.run("of_folder")

    assert executed(run) == ["folder"]
    assert file_of(sized, run["folder"][0].view.outputs["result"], "b.txt").read_bytes() == b"b" * 10000


@pytest.mark.parametrize("damage", [delete, corrupt])
def test_a_blob_damaged_while_its_run_goes_on_is_recomputed_by_that_run(sized: UserProject, tmp_path: Path, damage: Damage) -> None:
    gate = tmp_path / "gate"
    run = begun(sized.client, sized.pipeline("of_gate"), gate=str(gate))
    until(gate.with_suffix(".waiting").exists)

    damage(stored(sized, run["make"][0].view.outputs["result"]))
    gate.touch()

    assert run.result() == 10001
    assert len(run["make"].attempts) == 2


def file_of(project: UserProject, ref: Value, name: str) -> Path:
    """The blob of a file in a directory artifact."""
    assert isinstance(ref, ArtifactRef)
    folder = project.client.home / "artifacts" / "blobs"
    manifest = DirectoryManifest.model_validate_json(blob(folder, ref.digest).read_bytes())
    return blob(folder, next(entry.digest for entry in manifest.files if entry.path == name))


def blob(folder: Path, digest: str) -> Path:
    return next(path for path in folder.rglob(digest.rpartition(":")[2] + "*") if path.is_file())
