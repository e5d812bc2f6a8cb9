"""What every artifact store promises, on each adapter."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ArtifactLost, ContractError
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from penstock.transport.artifact_stores.memory import MemoryArtifactStore
from penstock.transport.artifact_stores.s3 import S3ArtifactStore
from penstock.transport.artifact_stores.s3_bucket import Bucket
from penstock.transport.artifact_stores.s3_location import S3Location
from tests.servers.s3 import S3Bucket

LARGE = b"penstock" * 20_000


class Case(NamedTuple):
    """A store, and how its bytes are spoiled behind its back (None: they are removed)."""

    store: ArtifactStore
    spoil: Callable[[str, bytes | None], Awaitable[None]]
    looks_inside: bool = True
    """Whether `lost` reads what was not read before; else it finds what is gone, and damage once something was read."""


@asynccontextmanager
async def _folder(path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[Case]:
    store = FolderArtifactStore(path)

    async def spoil(digest: str, data: bytes | None) -> None:
        blob = store.folder.path_of(digest)
        blob.unlink()
        if data is not None:
            blob.write_bytes(data)

    yield Case(store, spoil)


@asynccontextmanager
async def _memory(path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[Case]:
    store = MemoryArtifactStore()

    async def spoil(digest: str, data: bytes | None) -> None:
        del store.blobs[digest]
        if data is not None:
            store.blobs[digest] = data

    yield Case(store, spoil)


@asynccontextmanager
async def _s3(path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[Case]:
    bucket: S3Bucket = request.getfixturevalue("bucket")
    location = S3Location.parse(bucket.url)
    async with S3ArtifactStore(bucket.url, cache=path) as store, Bucket(location) as behind:

        async def spoil(digest: str, data: bytes | None) -> None:
            store.cache.delete(digest)
            await behind.delete(location.blob(digest))
            if data is not None:
                await behind.put(location.blob(digest), data, over=True)

        yield Case(store, spoil, looks_inside=False)


@pytest.fixture(params=[_folder, _memory, _s3])
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Case]:
    make: Callable[[Path, pytest.FixtureRequest], AbstractAsyncContextManager[Case]] = request.param
    async with make(tmp_path / "artifacts", request) as case:
        yield case


def staged(store: ArtifactStore, data: bytes, name: str = "staged") -> Path:
    path = store.staging / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
async def test_written_bytes_are_read_under_their_digest(case: Case, data: bytes) -> None:
    digest = await case.store.write(data)

    assert digest == digest_bytes(data)
    assert (await case.store.local(digest)).read_bytes() == data


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
async def test_a_taken_file_is_stored_and_gone_from_where_it_was(case: Case, data: bytes) -> None:
    path = staged(case.store, data)

    await case.store.take(path, digest_bytes(data))

    assert (await case.store.local(digest_bytes(data))).read_bytes() == data
    assert not path.exists()


async def test_a_file_from_another_folder_can_be_taken(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "output.bin"
    path.write_bytes(b"output")

    await case.store.take(path, digest_bytes(b"output"))

    assert (await case.store.local(digest_bytes(b"output"))).read_bytes() == b"output"


async def test_writing_the_same_bytes_again_changes_nothing(case: Case) -> None:
    first = await case.store.write(b"same")
    again = staged(case.store, b"same")
    await case.store.take(again, first)

    assert await case.store.write(b"same") == first
    assert (await case.store.local(first)).read_bytes() == b"same"
    assert not again.exists()


async def test_one_file_may_be_taken_twice(case: Case) -> None:
    path = staged(case.store, b"two outputs")
    digest = digest_bytes(b"two outputs")
    await case.store.take(path, digest)

    await case.store.take(path, digest)

    assert (await case.store.local(digest)).read_bytes() == b"two outputs"


async def test_many_may_take_the_same_bytes_at_once(case: Case) -> None:
    digest = digest_bytes(LARGE)
    paths = [staged(case.store, LARGE, f"staged-{i}") for i in range(8)]

    await asyncio.gather(*(case.store.take(path, digest) for path in paths))

    assert (await case.store.local(digest)).read_bytes() == LARGE
    assert not any(path.exists() for path in paths)


async def test_what_was_never_written_is_lost(case: Case) -> None:
    digest = digest_bytes(b"never")

    with pytest.raises(ArtifactLost, match=digest) as raised:
        await case.store.local(digest)

    assert raised.value.digest == digest
    assert await case.store.lost([digest]) == {digest}


SPOILED = {"deleted": None, "truncated": LARGE[:-1], "emptied": b"", "flipped": b"P" + LARGE[1:], "swapped": b"another blob's bytes"}


@pytest.mark.parametrize("spoiled", SPOILED.values(), ids=SPOILED.keys())
async def test_spoiled_bytes_are_lost_and_never_served(case: Case, spoiled: bytes | None) -> None:
    digest = await case.store.write(LARGE)
    await case.store.local(digest)
    await case.spoil(digest, spoiled)

    if case.looks_inside or spoiled is None:
        assert await case.store.lost([digest]) == {digest}
    with pytest.raises(ArtifactLost, match=digest):
        await case.store.local(digest)
    assert await case.store.lost([digest]) == {digest}


@pytest.mark.parametrize("spoiled", SPOILED.values(), ids=SPOILED.keys())
async def test_reading_finds_spoiled_bytes_by_itself(case: Case, spoiled: bytes | None) -> None:
    digest = await case.store.write(LARGE)
    await case.spoil(digest, spoiled)

    with pytest.raises(ArtifactLost, match=digest):
        await case.store.local(digest)


@pytest.mark.parametrize("by_take", [True, False], ids=["take", "write"])
async def test_writing_again_heals_spoiled_bytes(case: Case, by_take: bool) -> None:
    digest = await case.store.write(LARGE)
    await case.spoil(digest, b"garbage")

    if by_take:
        await case.store.take(staged(case.store, LARGE), digest)
    else:
        await case.store.write(LARGE)

    assert (await case.store.local(digest)).read_bytes() == LARGE
    assert await case.store.lost([digest]) == set()


async def test_a_file_taken_under_a_wrong_digest_is_never_served(case: Case) -> None:
    digest = digest_bytes(b"promised")
    await case.store.take(staged(case.store, b"delivered"), digest)

    with pytest.raises(ArtifactLost):
        await case.store.local(digest)


async def test_lost_tells_the_missing_from_the_present(case: Case) -> None:
    present = {await case.store.write(str(number).encode()) for number in range(20)}
    absent = {digest_bytes(b"absent"), digest_bytes(b"gone")}

    assert await case.store.lost(present | absent) == absent


async def test_deleted_bytes_are_gone_and_deleting_twice_is_harmless(case: Case) -> None:
    digest = await case.store.write(b"short-lived")

    await case.store.delete(digest)
    await case.store.delete(digest)

    assert await case.store.lost([digest]) == {digest}


@pytest.mark.parametrize("wrong", ["", "sha256:../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 32])
async def test_what_is_no_digest_names_no_file(case: Case, wrong: str) -> None:
    with pytest.raises((ContractError, ArtifactLost)):
        await case.store.local(wrong)
