"""What every shared cache promises, on each adapter."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from penstock.contracts.errors import ContractError
from penstock.transport.shared_cache import SharedCache
from penstock.transport.shared_caches.folder import FolderSharedCache
from penstock.transport.shared_caches.memory import MemorySharedCache
from penstock.transport.shared_caches.s3 import S3SharedCache
from tests.servers.s3 import S3Bucket

ONE, OTHER = "1" * 64, "2" * 64


@asynccontextmanager
async def _memory(path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[SharedCache]:
    yield MemorySharedCache()


@asynccontextmanager
async def _folder(path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[SharedCache]:
    yield FolderSharedCache(path)


@asynccontextmanager
async def _s3(path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[SharedCache]:
    bucket: S3Bucket = request.getfixturevalue("bucket")
    async with S3SharedCache(bucket.url) as shared:
        yield shared


@pytest.fixture(params=[_memory, _folder, _s3])
async def shared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[SharedCache]:
    make: Callable[[Path, pytest.FixtureRequest], AbstractAsyncContextManager[SharedCache]] = request.param
    async with make(tmp_path / "shared", request) as shared:
        yield shared


@pytest.mark.parametrize("data", [b"", b"entry", bytes(range(256)) * 100], ids=["empty", "small", "binary"])
async def test_what_was_put_is_got(shared: SharedCache, data: bytes) -> None:
    await shared.put("default", ONE, data)

    assert await shared.get_many("default", [ONE]) == {ONE: data}


async def test_only_what_is_there_is_told(shared: SharedCache) -> None:
    await shared.put("default", ONE, b"entry")

    assert await shared.get_many("default", [ONE, OTHER, ONE]) == {ONE: b"entry"}
    assert await shared.get_many("default", []) == {}


async def test_an_entry_stays_as_it_is(shared: SharedCache) -> None:
    await shared.put("default", ONE, b"first")
    await shared.put("default", ONE, b"second")

    assert await shared.get_many("default", [ONE]) == {ONE: b"first"}


async def test_workspaces_do_not_see_each_others_entries(shared: SharedCache) -> None:
    await shared.put("one", ONE, b"of one")
    await shared.put("another", ONE, b"of another")

    assert await shared.get_many("one", [ONE]) == {ONE: b"of one"}
    assert await shared.get_many("third", [ONE]) == {}


async def test_of_entries_put_at_once_one_is_there_whole(shared: SharedCache) -> None:
    entries = [bytes([number]) * 5000 for number in range(8)]

    await asyncio.gather(*(shared.put("default", ONE, entry) for entry in entries))

    assert (await shared.get_many("default", [ONE]))[ONE] in entries


async def test_hundreds_are_got_at_once(shared: SharedCache) -> None:
    keys = [f"{number:064x}" for number in range(200)]
    for key in keys[:5]:
        await shared.put("default", key, key.encode())

    assert await shared.get_many("default", keys) == {key: key.encode() for key in keys[:5]}


@pytest.mark.parametrize(
    ("workspace", "key"), [("../up", ONE), ("", ONE), ("Big", ONE), ("default", "../../x"), ("default", ""), ("default", "A" * 64)]
)
async def test_no_name_leads_out_of_the_cache(shared: SharedCache, workspace: str, key: str) -> None:
    with pytest.raises(ContractError):
        await shared.get_many(workspace, [key])
    with pytest.raises(ContractError):
        await shared.put(workspace, key, b"evil")
