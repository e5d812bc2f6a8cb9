"""Inputs at URIs: read once, with the user's own credentials, and the run tells what they were."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import InvalidInput
from penstock.sdk import Directory, File
from tests.deploy.processes import penstock
from tests.end_to_end.user_project import UserProject, executed
from tests.servers.s3 import S3Bucket

PIPELINE = """
from penstock.sdk import Directory, File, pipeline, step

@step
def count(raw: File) -> int:
    return len(raw.path.read_bytes())

@step
def names(tree: Directory) -> list[str]:
    return [file.path.relative_to(tree.path).as_posix() for file in tree.files()]

@step
def together(several: list[File]) -> list[str]:
    return [file.path.read_text() for file in several]

@pipeline
def one(raw: File) -> int:
    return count(raw)

@pipeline
def folder(tree: Directory) -> list[str]:
    return names(tree)

@pipeline
def many(several: list[File]) -> list[str]:
    return together(several)
"""
Put = Callable[[str, bytes], str]


@pytest.fixture
def put(bucket: S3Bucket) -> Put:
    """Writes an object; gives its URI."""
    endpoint = bucket.environment["AWS_ENDPOINT_URL_S3"]
    client: Any = botocore.session.Session().create_client("s3", region_name="us-east-1", endpoint_url=endpoint)

    def written(key: str, data: bytes) -> str:
        client.put_object(Bucket=bucket.name, Key=key, Body=data)
        return f"s3://{bucket.name}/{key}"

    return written


def test_an_object_in_a_bucket_is_read_once_and_told_of(project: UserProject, put: Put) -> None:
    project.write("pipeline.py", PIPELINE)
    uri = put("daily/a.csv", b"12345")

    run = project.run("one", raw=File(uri))
    assert run.result() == 5
    origin = run.view.tags["input.raw"].split(" ")
    assert origin[0] == uri
    assert origin[2] == digest_bytes(b"12345")

    again = project.run("one", raw=File(uri))
    assert executed(again) == []
    assert again.view.tags == run.view.tags

    put("daily/a.csv", b"123456")
    changed = project.run("one", raw=File(uri))
    assert changed.result() == 6
    assert changed.view.tags["input.raw"] != run.view.tags["input.raw"]


def test_the_same_bytes_under_another_name_are_a_hit(project: UserProject, put: Put) -> None:
    project.write("pipeline.py", PIPELINE)
    assert executed(project.run("one", raw=File(put("a.csv", b"12345")))) == ["count"]

    assert executed(project.run("one", raw=File(put("other/b.csv", b"12345")))) == []


def test_an_object_that_has_not_changed_is_not_read_again(project: UserProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("pipeline.py", PIPELINE)
    drop = tmp_path / "drop.csv"
    drop.write_text("12345")
    project.run("one", raw=File(f"file://{drop}"))
    stored: list[Path] = []

    def noted(_: object, path: Path) -> None:
        stored.append(path)

    monkeypatch.setattr(type(project.client), "put_path", noted)

    project.run("one", raw=File(f"file://{drop}"))

    assert stored == []


def test_a_prefix_is_a_directory_and_several_files_a_list(project: UserProject, put: Put) -> None:
    project.write("pipeline.py", PIPELINE)
    first, second = put("tree/a.txt", b"a"), put("tree/deep/b.txt", b"b")

    assert project.run("folder", tree=Directory(first.removesuffix("a.txt"))).result() == ["a.txt", "deep/b.txt"]
    assert project.run("many", several=[File(second), File(first)]).result() == ["b", "a"]


@pytest.mark.parametrize(("name", "told"), [("nothing.csv", "no object"), ("*.csv", "wildcards"), ("a/../b.csv", r"`\.\.`")])
def test_what_cant_be_read_is_told_with_its_parameter(project: UserProject, put: Put, name: str, told: str) -> None:
    project.write("pipeline.py", PIPELINE)
    root = put("a.csv", b"1").removesuffix("a.csv")

    with pytest.raises(InvalidInput, match=told) as refused:
        project.run("one", raw=File(f"{root}{name}"))
    assert "raw" in str(refused.value)


def test_data_that_is_to_stay_where_it_is_is_refused(project: UserProject, put: Put) -> None:
    project.write("pipeline.py", PIPELINE)

    with pytest.raises(InvalidInput, match="copy=False"):
        project.run("one", raw=File(put("a.csv", b"1"), copy=False))


def test_the_command_line_takes_uris_too(put: Put, tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").touch()
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    uri = put("a.csv", b"12345")

    done = penstock(tmp_path, "run", "pipeline.py:one", "-p", f"raw={uri}")

    assert done.returncode == 0, done.stderr
    assert f"input.raw was {uri} " in penstock(tmp_path, "runs", "show").stdout
    assert f"input.raw={uri}\n" in penstock(tmp_path, "runs", "ls").stdout
    refused = penstock(tmp_path, "run", "pipeline.py:one", "-p", f"raw={uri}x")
    assert "no object" in refused.stderr
    inline = penstock(tmp_path, "run", "pipeline.py:one", "-p", f"raw={uri}", "--inline")
    assert "inline" in inline.stderr
