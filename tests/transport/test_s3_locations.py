"""Addresses of artifact stores: which are understood, and what is said of the others."""

from pathlib import Path

import pytest

from penstock.contracts.errors import InvalidInput, StoreUnavailable
from penstock.transport.artifact_stores.by_url import folder_of, open_artifact_store
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from penstock.transport.artifact_stores.s3 import S3ArtifactStore
from penstock.transport.artifact_stores.s3_location import S3Location
from tests.servers.s3 import S3Bucket


@pytest.mark.parametrize(
    ("url", "key"),
    [("s3://models", "a/b"), ("s3://models/", "a/b"), ("s3://models/team", "team/a/b"), ("s3://models/team/x/", "team/x/a/b")],
)
def test_a_bucket_may_have_a_prefix(url: str, key: str) -> None:
    location = S3Location.parse(url)

    assert (location.bucket, location.key("a/b")) == ("models", key)


@pytest.mark.parametrize(
    "url",
    ["", "s3:", "s3://", "s3:///prefix", "s3://Big", "s3://a", "s3://models/../other", "s3://models/a//b", "s3://models/a?b", "s3://models/ä",
     "https://models/a", "s3://key:secret@models/a"],
)  # fmt: skip
def test_what_is_no_place_in_s3_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        S3Location.parse(url)

    assert "secret" not in str(raised.value)


async def test_a_folder_is_opened_by_its_address(tmp_path: Path) -> None:
    async with open_artifact_store(f"file://{tmp_path}/some%20place", cache=tmp_path / "unused") as store:
        digest = await store.write(b"kept")

    assert (await FolderArtifactStore(tmp_path / "some place").local(digest)).read_bytes() == b"kept"
    assert not (tmp_path / "unused").exists()


async def test_a_bucket_is_opened_by_its_address(bucket: S3Bucket, tmp_path: Path) -> None:
    async with open_artifact_store(bucket.url, cache=tmp_path / "cache") as store:
        digest = await store.write(b"kept")

    async with S3ArtifactStore(bucket.url, cache=tmp_path / "another") as again:
        assert (await again.local(digest)).read_bytes() == b"kept"
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.lost([digest])


@pytest.mark.parametrize("url", ["", "models", "/models", "gs://models", "http://models", "file:relative", "file://host/x", "file:///x?y"])
async def test_any_other_address_is_refused_with_the_two_that_are_read(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="one reads file:///"):
        async with open_artifact_store(url, cache=tmp_path):
            raise AssertionError


async def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InvalidInput, match=str(tmp_path / "file")):
        async with open_artifact_store(f"file://{tmp_path}/file/below", cache=tmp_path):
            raise AssertionError


def test_a_folder_is_an_absolute_path() -> None:
    assert folder_of("file:///var/lib/penstock") == Path("/var/lib/penstock")
