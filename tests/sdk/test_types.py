"""Files and directories as users hold them, and triggers as they declare them."""

import copy
import dataclasses
import os
from pathlib import Path

import pytest

from penstock.contracts.errors import InvalidInput
from penstock.sdk import All, Any, Cron, Directory, File, OnData, OnEvent, OnRun, Output
from penstock.sdk.types import matches


def test_a_file_is_a_path_to_everything_that_opens_paths(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    file = File(tmp_path / "a.txt")

    assert Path(file).read_text() == "hello"
    assert os.fspath(file) == str(file.path)
    assert file.suffix == ".txt"


def test_files_are_equal_by_kind_and_path() -> None:
    assert File("a") == File("a")
    assert File("a") != Directory("a")
    assert len({File("a"), File("a"), File("b")}) == 2


def test_a_uri_is_remote_and_a_drive_letter_is_not() -> None:
    assert File("s3://bucket/key").is_remote
    assert File("s3://bucket/key").uri == "s3://bucket/key"
    assert not File(r"C:\data\a.csv").is_remote


def test_a_directory_lists_files_in_path_order(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "a.jpg", "b/1.jpg", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    directory = Directory(tmp_path)

    assert [file.path.relative_to(tmp_path).as_posix() for file in directory.files()] == ["a.jpg", "b/1.jpg", "b/2.jpg", "c.txt"]
    assert [file.path.name for file in directory.files("*.jpg")] == ["a.jpg"]
    assert [file.path.name for file in directory.files("**/*.jpg")] == ["a.jpg", "1.jpg", "2.jpg"]
    assert directory.file("b/1.jpg").path.name == "1.jpg"


def test_a_file_that_is_not_there_names_what_is(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()

    with pytest.raises(InvalidInput, match=r"a\.jpg"):
        Directory(tmp_path).file("b.jpg")


@pytest.mark.parametrize(
    ("path", "glob", "expected"),
    [
        ("a.jpg", "*.jpg", True),
        ("x/a.jpg", "*.jpg", False),
        ("x/a.jpg", "x/*", True),
        ("x/y/a.jpg", "**/a.jpg", True),
        ("x/y/a.jpg", "**", True),
        ("a", "**", True),
        ("x/y", "x/**/y", True),
        ("x", "x/**", False),
    ],
)
def test_a_glob_matches_by_folder(path: str, glob: str, expected: bool) -> None:
    assert matches(path, glob) is expected


def test_an_output_is_written_under_its_name_unless_it_says_where() -> None:
    assert Output("model", Directory).path == "model"
    assert Output("metrics", File, path="out/metrics.json").path == "out/metrics.json"


def test_triggers_are_frozen_declared_data() -> None:
    event = OnEvent("day.closed", where="event.data.rows > 3", parameters={"raw": "event.data.uri"}, dedupe="event.data.day")
    trigger = All(event, Any(Cron("0 3 * * *", tz="Europe/Paris"), OnData("s3://lake/*.csv")), OnRun("other"), key="event.day", within="6h")

    assert copy.deepcopy(trigger) == trigger
    assert trigger.triggers[0] == event
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.type = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # that is the point
