"""Files and folders in values: stored by their bytes, read under names of their own."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pytest
from matplotlib.figure import Figure

from penstock.contracts.artifacts import (
    ArtifactRef,
    refs_in,
)
from penstock.contracts.errors import InvalidInput
from penstock.sdk.types import Directory, File, KeepName
from penstock.sdk.values.codecs import decode, encode, encode_attachment
from tests.sdk.codec_bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_file_keeps_its_suffix_under_the_name_of_the_parameter(bench: Bench) -> None:
    source = bench.root / "wine.csv"
    source.write_text("x,y")

    back = bench.decode(bench.encode(File(source), File), File, parameter="raw")

    assert back.path == bench.workdir / "raw.csv"
    assert back.path.read_text() == "x,y"
    assert source.read_text() == "x,y"


def test_a_file_parameter_takes_an_array_as_its_file(bench: Bench) -> None:
    value = bench.encode(np.arange(3), Any)

    back = bench.decode(value, File)

    assert np.array_equal(np.load(back.path), np.arange(3))


def test_a_file_parameter_takes_a_file_of_json(bench: Bench) -> None:
    source = bench.root / "metrics.json"
    source.write_text("{}")
    ref = bench.encode(File(source), File)
    assert isinstance(ref, ArtifactRef)

    back = bench.decode(ref.model_copy(update={"media_type": "application/json"}), File)

    assert back.path.name == "data.json"


def test_the_name_of_a_file_counts_only_where_it_matters(bench: Bench) -> None:
    for name in ("a.csv", "b.csv"):
        (bench.root / name).write_text("same")
    one, other = (File(bench.root / name) for name in ("a.csv", "b.csv"))
    named = Annotated[File, KeepName]

    assert bench.encode(one, File) == bench.encode(other, File)
    assert bench.encode(one, named) != bench.encode(other, named)
    assert bench.decode(bench.encode(one, named), named).path.name == "a.csv"


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "..", "a\\b", "a\0"])
def test_the_name_of_a_file_can_not_lead_out_of_the_working_directory(bench: Bench, name: str) -> None:
    source = bench.root / "x"
    source.write_text("evil")
    ref = bench.encode(File(source), File)
    assert isinstance(ref, ArtifactRef)

    with pytest.raises(InvalidInput, match="file name"):
        bench.decode(ref.model_copy(update={"name": name}), File)


@pytest.mark.parametrize("suffix", ["/../../x", "\\x", "/x", "\0"])
def test_the_suffix_of_a_file_can_not_lead_out_of_the_working_directory(bench: Bench, suffix: str) -> None:
    (bench.root / "a.csv").write_text("x")
    ref = bench.encode(File(bench.root / "a.csv"), File)
    assert isinstance(ref, ArtifactRef)

    with pytest.raises(InvalidInput, match="can't have the file name"):
        bench.decode(ref.model_copy(update={"suffix": suffix}), File)


def test_files_of_dicts_have_names_of_their_own_whatever_their_keys_are(bench: Bench) -> None:
    keys = [("a", "b-c"), ("a-b", "c"), ("a/b", "c"), ("../../..", "x"), ("a%2Fb", "c"), ("", "")]
    given: dict[str, dict[str, File]] = {}
    for number, (outer, inner) in enumerate(keys):
        (bench.root / f"{number}").write_text(f"{number}")
        given[outer] = {inner: File(bench.root / f"{number}")}

    back = bench.decode(bench.encode(given, dict[str, dict[str, File]]), dict[str, dict[str, File]])

    files = [file for part in back.values() for file in part.values()]
    assert [file.path.read_text() for file in files] == [str(number) for number in range(len(keys))]
    assert all(file.path.parent == bench.workdir for file in files)


def test_a_file_is_read_in_place_without_a_working_directory(bench: Bench) -> None:
    source = bench.root / "wine.csv"
    source.write_text("x,y")
    ref = bench.encode(File(source), File)
    assert isinstance(ref, ArtifactRef)

    back = decode(ref, File, bench.local)

    assert back.path == bench.blobs.path_of(ref.digest)


def test_files_of_a_list_have_names_of_their_own(bench: Bench) -> None:
    for name in ("a.jpg", "b.png"):
        (bench.root / name).write_text(name)

    value = bench.encode([File(bench.root / "a.jpg"), File(bench.root / "b.png")], list[File])
    images = bench.decode(value, Sequence[File], parameter="images")

    assert [image.path.name for image in images] == ["images-0.jpg", "images-1.png"]
    assert [image.path.read_text() for image in images] == ["a.jpg", "b.png"]


class Trained(NamedTuple):
    model: File
    score: float


@dataclasses.dataclass
class Report:
    pages: list[File]
    title: str


def _trained(file: File) -> object:
    return Trained(file, 0.5)


def _report(file: File) -> object:
    return Report([file], "all")


def _mapping(file: File) -> object:
    return {"model": file, "score": 0.5}


def _pair(file: File) -> object:
    return [file, 0.5]


@pytest.mark.parametrize("wrap", [_trained, _report, _mapping, _pair])
@pytest.mark.parametrize("declared", [True, False])
def test_files_inside_other_values_are_stored_with_their_bytes(bench: Bench, wrap: Callable[[File], object], declared: bool) -> None:
    source = bench.root / "model.bin"
    source.write_text("weights")
    wrapped = wrap(File(source))

    value = bench.encode(wrapped, type(wrapped) if declared else Any)
    source.unlink()

    assert only_file(bench.decode(value, Any)).path.read_text() == "weights"


def only_file(value: Any) -> File:
    while not isinstance(value, File):
        value = next(iter(value.values() if hasattr(value, "values") else value), None)
    return value


def test_too_many_files_in_a_dict_are_told(bench: Bench) -> None:
    (bench.root / "x").write_text("x")

    with pytest.raises(InvalidInput, match=r"a dict of 65 values .* Directory"):
        bench.encode({str(i): File(bench.root / "x") for i in range(65)}, dict[str, File])


def test_a_directory_comes_back_with_all_its_files(bench: Bench) -> None:
    source = bench.root / "images"
    (source / "deep").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "deep/run.sh").write_text("b")
    (source / "deep/run.sh").chmod(0o755)

    value = bench.encode(Directory(source), Directory)
    back = bench.decode(value, Directory, parameter="images")

    assert isinstance(value, ArtifactRef)
    assert value.kind == "directory"
    assert back.path == bench.workdir / "images"
    assert [file.path.relative_to(back.path).as_posix() for file in back.files()] == ["a.txt", "deep/run.sh"]
    assert back.file("deep/run.sh").path.stat().st_mode & 0o100
    assert (source / "a.txt").read_text() == "a"


def test_files_of_a_working_directory_are_not_copied(bench: Bench) -> None:
    output = bench.workdir / "model.bin"
    output.write_text("weights")

    encoded = encode(File(output), File, bench.blobs.staging, movable=bench.workdir)

    assert [staged.path for staged in encoded.files] == [output]


def test_a_file_of_a_working_directory_is_named_below_it_however_it_was_reached(bench: Bench) -> None:
    (bench.workdir / "deep").mkdir()
    (bench.workdir / "model.bin").write_text("weights")
    alias = bench.root / "alias"
    alias.symlink_to(bench.workdir)

    for path in (alias / "model.bin", bench.workdir / "deep/../model.bin"):
        encoded = encode(File(path), File, bench.blobs.staging, movable=bench.workdir)
        assert [staged.path for staged in encoded.files] == [bench.workdir / "model.bin"]


def test_files_outside_of_the_working_directory_stay_where_they_are(bench: Bench) -> None:
    source = bench.root / "precious.bin"
    source.write_text("mine")
    (bench.workdir / "link").symlink_to(source)
    (bench.workdir / "hard").hardlink_to(source)

    for path in (source, bench.workdir / "link", bench.workdir / "hard"):
        bench.take(encode(File(path), File, bench.blobs.staging, movable=bench.workdir))

    assert source.read_text() == "mine"
    assert source.stat().st_mode & 0o200


def test_equal_files_of_a_working_directory_can_all_be_outputs(bench: Bench) -> None:
    for name in ("a", "b"):
        (bench.workdir / name).write_text("same")

    encoded = encode(Directory(bench.workdir), Directory, bench.blobs.staging, movable=bench.workdir)
    other = encode(File(bench.workdir / "b"), File, bench.blobs.staging, movable=bench.workdir)

    bench.take(encoded)
    bench.take(other)
    assert len(refs_in(encoded.value)) == 1


def test_a_missing_file_is_named_with_the_place_it_was_looked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench.root)

    with pytest.raises(InvalidInput, match=rf"File\('absent.csv'\) does not exist in {bench.root}"):
        bench.encode(File("absent.csv"), File)


def test_a_folder_given_as_a_file_is_refused(bench: Bench) -> None:
    with pytest.raises(InvalidInput, match="use Directory"):
        bench.encode(File(bench.workdir), File)


def test_figures_are_attached_as_the_same_picture_each_time(bench: Bench) -> None:
    first, second = (bench.take(encode_attachment(Figure(figsize=(1, 1), facecolor="red"), bench.blobs.staging)) for _ in range(2))

    assert first == second
    assert isinstance(first, ArtifactRef)
    assert (first.media_type, first.suffix) == ("image/png", ".png")


def test_paths_are_attached_as_files_and_folders(bench: Bench) -> None:
    (bench.workdir / "report.html").write_text("<p>")

    file = bench.take(encode_attachment(bench.workdir / "report.html", bench.blobs.staging))
    folder = bench.take(encode_attachment(str(bench.workdir), bench.blobs.staging))

    assert isinstance(file, ArtifactRef)
    assert isinstance(folder, ArtifactRef)
    assert (file.suffix, folder.kind) == (".html", "directory")
