"""What every datastore promises: in memory, in a folder, in S3."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from penstock.contracts.errors import DataChanged, InvalidInput
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from penstock.transport.datastore import Datastores, FoundObject
from penstock.transport.datastores.declared import DeclaredDatastores, open_place
from penstock.transport.datastores.memory import MemoryDatastores
from penstock.transport.datastores.place import PIECE_BYTES, Declaration, Place
from tests.servers.s3 import S3Bucket


@dataclass(frozen=True, slots=True)
class Lake:
    """A datastore below `root` and a way to write into it."""

    root: str
    datastores: Datastores
    artifacts: FolderArtifactStore
    place: Place
    put: Callable[[str, bytes], None]
    remove: Callable[[str], None]

    async def text(self, ref_digest: str) -> bytes:
        return (await self.artifacts.local(ref_digest)).read_bytes()


@pytest.fixture(params=["memory", "folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    artifacts = FolderArtifactStore(tmp_path / "artifacts")
    return {"memory": _memory, "folder": _folder, "s3": _s3}[request.param](request, tmp_path, artifacts)


def _memory(_: pytest.FixtureRequest, __: Path, artifacts: FolderArtifactStore) -> Lake:
    datastores = MemoryDatastores(artifacts)
    contents = datastores.place.contents

    def put(key: str, data: bytes) -> None:
        contents[f"s3://lake/{key}"] = data

    def remove(key: str) -> None:
        del contents[f"s3://lake/{key}"]

    return Lake("s3://lake", datastores, artifacts, datastores.place, put, remove)


def _folder(_: pytest.FixtureRequest, folder: Path, artifacts: FolderArtifactStore) -> Lake:
    root = folder / "lake"
    root.mkdir()

    def put(key: str, data: bytes) -> None:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(data)

    declaration = Declaration(name="lake", url=f"file://{root}")
    place = open_place(declaration)
    return Lake(f"file://{root}", DeclaredDatastores([declaration], artifacts), artifacts, place, put, lambda key: (root / key).unlink())


def _s3(request: pytest.FixtureRequest, _: Path, artifacts: FolderArtifactStore) -> Lake:
    bucket: S3Bucket = request.getfixturevalue("bucket")
    endpoint = bucket.environment["AWS_ENDPOINT_URL_S3"]
    client: Any = botocore.session.Session().create_client("s3", region_name="us-east-1", endpoint_url=endpoint)
    declaration = Declaration(name="lake", url=f"s3://{bucket.name}")
    return Lake(
        f"s3://{bucket.name}",
        DeclaredDatastores([declaration], artifacts),
        artifacts,
        open_place(declaration),
        lambda key, data: client.put_object(Bucket=bucket.name, Key=key, Body=data) and None,
        lambda key: client.delete_object(Bucket=bucket.name, Key=key) and None,
    )


async def _names(lake: Lake, pattern: str) -> list[str]:
    return [found.uri.removeprefix(f"{lake.root}/") for found in await lake.datastores.find(f"{lake.root}/{pattern}")]


async def test_what_wildcards_and_prefixes_name_is_found_in_order(lake: Lake) -> None:
    for key in ("daily/b.csv", "daily/a.csv", "daily/old/c.csv", "daily/note.txt", "dailyish/d.csv", "top.csv"):
        lake.put(key, key.encode())

    assert await _names(lake, "daily/*.csv") == ["daily/a.csv", "daily/b.csv"]
    assert await _names(lake, "daily/?.csv") == ["daily/a.csv", "daily/b.csv"]
    assert await _names(lake, "daily/**/*.csv") == ["daily/a.csv", "daily/b.csv", "daily/old/c.csv"]
    assert await _names(lake, "daily*/*.csv") == ["daily/a.csv", "daily/b.csv", "dailyish/d.csv"]
    assert await _names(lake, "daily/") == ["daily/a.csv", "daily/b.csv", "daily/note.txt", "daily/old/c.csv"]
    assert await _names(lake, "*.csv") == ["top.csv"]
    assert await _names(lake, "top.csv") == ["top.csv"]
    assert await _names(lake, "daily") == []
    assert await _names(lake, "nothing/") == []


async def test_a_mark_is_anothers_once_the_content_is(lake: Lake) -> None:
    lake.put("a.csv", b"1")
    (first,) = await lake.datastores.find(f"{lake.root}/a.csv")
    (again,) = await lake.datastores.find(f"{lake.root}/a.csv")

    lake.put("a.csv", b"2")
    (second,) = await lake.datastores.find(f"{lake.root}/*.csv")

    assert first == again
    assert first.mark
    assert second.mark != first.mark
    assert second.size == 1


async def test_a_file_is_taken_by_content_and_keeps_its_suffix(lake: Lake) -> None:
    lake.put("a.csv", b"1,2\n")
    lake.put("copy/b.csv", b"1,2\n")

    one = await lake.datastores.take(f"{lake.root}/a.csv", "file")
    other = await lake.datastores.take(f"{lake.root}/copy/b.csv", "file")

    assert one == other
    assert one.suffix == ".csv"
    assert one.digest == "sha256:" + hashlib.sha256(b"1,2\n").hexdigest()
    assert await lake.text(one.digest) == b"1,2\n"
    assert one.size == 4


async def test_a_prefix_is_taken_as_one_directory(lake: Lake) -> None:
    for key in ("tree/b.txt", "tree/a/x.txt", "treeish/c.txt"):
        lake.put(key, key.encode())

    ref = await lake.datastores.take(f"{lake.root}/tree", "directory")

    manifest = json.loads(await lake.text(ref.digest))
    assert ref.kind == "directory"
    assert [entry["path"] for entry in manifest["files"]] == ["a/x.txt", "b.txt"]
    assert await lake.text(manifest["files"][1]["digest"]) == b"tree/b.txt"


async def test_only_the_state_that_was_named_is_taken(lake: Lake) -> None:
    lake.put("a.csv", b"first")
    (found,) = await lake.datastores.find(f"{lake.root}/a.csv")
    assert (await lake.datastores.take(found.uri, "file", found.mark)).size == 5

    lake.put("a.csv", b"second")

    with pytest.raises(DataChanged, match="not at"):
        await lake.datastores.take(found.uri, "file", found.mark)


async def test_what_changes_while_it_is_read_is_not_taken(lake: Lake) -> None:
    size = PIECE_BYTES + 10
    lake.put("big.bin", b"a" * size)
    (found,) = await lake.datastores.find(f"{lake.root}/big.bin")
    pieces = lake.place.pieces(found)
    next(pieces)

    lake.put("big.bin", b"b" * size)

    with pytest.raises(DataChanged):
        list(pieces)


async def test_what_is_removed_while_it_is_read_is_not_taken(lake: Lake) -> None:
    lake.put("big.bin", b"a" * (PIECE_BYTES + 10))
    (found,) = await lake.datastores.find(f"{lake.root}/big.bin")
    pieces = lake.place.pieces(found)
    next(pieces)

    lake.remove("big.bin")
    lake.put("big.bin", b"short")

    with pytest.raises(DataChanged):
        list(pieces)


async def test_what_is_not_there_is_told(lake: Lake) -> None:
    with pytest.raises(InvalidInput, match="no object"):
        await lake.datastores.take(f"{lake.root}/a.csv", "file")
    with pytest.raises(InvalidInput, match="nothing below"):
        await lake.datastores.take(f"{lake.root}/tree/", "directory")
    gone = FoundObject(uri=f"{lake.root}/a.csv", mark="x", size=1, changed_at=0)
    with pytest.raises(DataChanged):
        list(lake.place.pieces(gone))


async def test_an_empty_file_is_taken(lake: Lake) -> None:
    lake.put("empty.csv", b"")

    assert (await lake.datastores.take(f"{lake.root}/empty.csv", "file")).size == 0
