"""Folders to manifests and back."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.artifacts import DirectoryEntry, DirectoryManifest, manifest_bytes
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import InvalidInput
from penstock.transport.directories import materialise_directory, materialise_file, materialise_shared, scan_directory


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "b.txt").write_bytes(b"b")
    (folder / "a.sh").write_bytes(b"run")
    (folder / "a.sh").chmod(0o755)
    (folder / "deep/er/leaf").write_bytes(b"b")
    return folder


def test_a_manifest_lists_files_by_path_with_their_digests(source: Path) -> None:
    manifest, _ = scan_directory(source)

    assert manifest.files == (
        DirectoryEntry(path="a.sh", digest=digest_bytes(b"run"), size=3, executable=True),
        DirectoryEntry(path="b.txt", digest=digest_bytes(b"b"), size=1),
        DirectoryEntry(path="deep/er/leaf", digest=digest_bytes(b"b"), size=1),
    )


def test_every_digest_comes_with_a_file_that_has_it(source: Path) -> None:
    manifest, sources = scan_directory(source)

    assert {entry.digest for entry in manifest.files} == set(sources)
    assert all(digest_bytes(path.read_bytes()) == digest for digest, path in sources.items())


def test_a_folder_is_made_again_as_it_was(source: Path, tmp_path: Path) -> None:
    manifest, sources = scan_directory(source)

    materialise_directory(manifest, sources.__getitem__, tmp_path / "copy")

    assert scan_directory(tmp_path / "copy")[0] == manifest


def test_writing_to_a_materialised_file_leaves_the_blob_alone(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"fixed")
    blob.chmod(0o444)

    materialise_file(blob, tmp_path / "mine")
    (tmp_path / "mine").write_bytes(b"changed")

    assert blob.read_bytes() == b"fixed"
    assert (tmp_path / "mine").stat().st_nlink == 1


def test_the_place_of_a_folder_and_its_times_do_not_matter(source: Path, tmp_path: Path) -> None:
    before = manifest_bytes(scan_directory(source)[0])
    os.utime(source / "b.txt", ns=(1, 1))
    moved = source.rename(tmp_path / "elsewhere")

    assert manifest_bytes(scan_directory(moved)[0]) == before


def test_names_are_in_nfc_whatever_the_file_system_has(tmp_path: Path) -> None:
    (tmp_path / unicodedata.normalize("NFD", "é.csv")).write_bytes(b"")

    manifest, sources = scan_directory(tmp_path)

    assert manifest.files[0].path == unicodedata.normalize("NFC", "é.csv")
    assert all(path.exists() for path in sources.values())


def test_two_names_of_one_unicode_text_are_refused(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        (tmp_path / unicodedata.normalize(form, "é.csv")).write_bytes(b"")

    with pytest.raises(InvalidInput, match="Unicode"):
        scan_directory(tmp_path)


def _link(folder: Path) -> None:
    (folder / "odd").symlink_to("b.txt")


def _link_to_folder(folder: Path) -> None:
    (folder / "odd").symlink_to("deep")


def _dangling(folder: Path) -> None:
    (folder / "odd").symlink_to("nowhere")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "odd")


def _backslash(folder: Path) -> None:
    (folder / "odd\\name").write_bytes(b"")


def _drive(folder: Path) -> None:
    (folder / "C:odd").write_bytes(b"")


@pytest.mark.parametrize("make", [_link, _link_to_folder, _dangling, _pipe, _backslash, _drive])
def test_what_is_no_plain_file_is_refused_by_its_path(source: Path, make: Callable[[Path], None]) -> None:
    make(source)

    with pytest.raises(InvalidInput, match="odd"):
        scan_directory(source)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="absent"):
        scan_directory(tmp_path / "absent")


HOSTILE = ["/etc/passwd", "../up", "a/../../up", "a/..", "C:\\windows", "c:file", "a\\b", "nul\0", "", ".", "a//b", "a/", "./a", "\ud800"]


@pytest.mark.parametrize("path", HOSTILE)
def test_a_manifest_can_not_reach_out_of_its_folder(tmp_path: Path, path: str) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"evil")
    manifest = DirectoryManifest(files=(DirectoryEntry(path=path, digest=digest_bytes(b"evil"), size=4),))

    with pytest.raises(InvalidInput):
        materialise_directory(manifest, lambda digest: blob, tmp_path / "target")

    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("paths", [["a", "a"], ["a", "a/b"]])
def test_a_manifest_with_colliding_paths_is_refused(tmp_path: Path, paths: list[str]) -> None:
    manifest = DirectoryManifest(files=tuple(DirectoryEntry(path=path, digest=digest_bytes(b""), size=0) for path in paths))

    with pytest.raises(InvalidInput):
        materialise_directory(manifest, lambda digest: tmp_path, tmp_path / "target")


@given(st.text(st.sampled_from("./\\:aC\0é~ "), max_size=8))
def test_whatever_a_path_says_it_stays_inside(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    place = tmp_path_factory.mktemp("place")
    blob = place / "blob"
    blob.write_bytes(b"x")
    manifest = DirectoryManifest(files=(DirectoryEntry(path=path, digest=digest_bytes(b"x"), size=1),))

    try:
        materialise_directory(manifest, lambda digest: blob, place / "in/target")
    except InvalidInput:
        assert not (place / "in").exists()
    else:
        assert [found.is_relative_to(place / "in/target") for found in place.rglob("*") if found.is_file() and found != blob] == [True]


def test_a_shared_folder_can_not_be_written_into_by_mistake_and_is_made_once(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "run.sh").write_text("#!/bin/sh")
    (source / "run.sh").chmod(0o755)
    (source / "a.csv").write_text("x")
    manifest, places = scan_directory(source)

    for _ in range(2):
        materialise_shared(manifest, places.__getitem__, tmp_path / "shared")

    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "shared").iterdir()}
    assert modes == {"run.sh": 0o555, "a.csv": 0o444}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shared", "source"]
