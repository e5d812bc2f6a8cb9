"""What every store of checkpoints promises, on each adapter."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from penstock.contracts.errors import ContractError
from penstock.transport.checkpoint_stores.folder import FolderCheckpoints
from penstock.transport.checkpoint_stores.s3 import S3Checkpoints
from penstock.transport.checkpoints import CheckpointStore
from tests.servers.s3 import S3Bucket

ONE, OTHER = "1" * 64, "2" * 64
LARGE = bytes(range(256)) * 40_000


@asynccontextmanager
async def _folder(path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[CheckpointStore]:
    yield FolderCheckpoints(path)


@asynccontextmanager
async def _s3(path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[CheckpointStore]:
    bucket: S3Bucket = request.getfixturevalue("bucket")
    async with S3Checkpoints(bucket.url) as checkpoints:
        yield checkpoints


@pytest.fixture(params=[_folder, _s3])
async def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[CheckpointStore]:
    make: Callable[[Path, pytest.FixtureRequest], AbstractAsyncContextManager[CheckpointStore]] = request.param
    async with make(tmp_path / "checkpoints", request) as checkpoints:
        yield checkpoints


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def made(data: bytes) -> Path:
        path = tmp_path / "archive"
        path.write_bytes(data)
        return path

    return made


async def _loaded(checkpoints: CheckpointStore, tmp_path: Path, name: str = ONE, workspace: str = "default") -> bytes | None:
    target = tmp_path / "loaded"
    target.unlink(missing_ok=True)
    found = await checkpoints.load(workspace, name, target)
    assert found == target.exists()
    return target.read_bytes() if found else None


@pytest.mark.parametrize("data", [b"", b"state", LARGE], ids=["empty", "small", "large"])
async def test_what_was_saved_is_loaded(checkpoints: CheckpointStore, file: Callable[[bytes], Path], tmp_path: Path, data: bytes) -> None:
    await checkpoints.save("default", ONE, file(data))

    assert await _loaded(checkpoints, tmp_path) == data
    assert await _loaded(checkpoints, tmp_path, OTHER) is None
    assert await _loaded(checkpoints, tmp_path, ONE, "other") is None


async def test_the_newest_takes_the_place_of_the_one_before(
    checkpoints: CheckpointStore, file: Callable[[bytes], Path], tmp_path: Path
) -> None:
    for data in (b"first", b"second", b"second", b"first"):
        await checkpoints.save("default", ONE, file(data))
        assert await _loaded(checkpoints, tmp_path) == data


async def test_equal_bytes_of_two_are_not_shared(checkpoints: CheckpointStore, file: Callable[[bytes], Path], tmp_path: Path) -> None:
    await checkpoints.save("default", ONE, file(b"same"))
    await checkpoints.save("default", OTHER, file(b"same"))

    await checkpoints.remove("default", ONE)
    await checkpoints.remove("default", ONE)

    assert await _loaded(checkpoints, tmp_path) is None
    assert await _loaded(checkpoints, tmp_path, OTHER) == b"same"


@pytest.mark.parametrize(("workspace", "name"), [("default", "../../etc"), ("default", "1" * 63), ("../up", ONE)])
async def test_no_name_leads_elsewhere(
    checkpoints: CheckpointStore, file: Callable[[bytes], Path], tmp_path: Path, workspace: str, name: str
) -> None:
    with pytest.raises(ContractError):
        await checkpoints.save(workspace, name, file(b"state"))
    with pytest.raises(ContractError):
        await checkpoints.load(workspace, name, tmp_path / "loaded")


async def test_damaged_bytes_are_not_loaded(tmp_path: Path, file: Callable[[bytes], Path]) -> None:
    checkpoints = FolderCheckpoints(tmp_path / "checkpoints")
    await checkpoints.save("default", ONE, file(b"state"))
    [kept] = [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file() and path.name != "current"]
    kept.write_bytes(b"stat")

    assert await _loaded(checkpoints, tmp_path) is None
