"""The artifact store in S3: what is sent and fetched how often, what a bad way or server does to it, and what it then says."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ArtifactLost, StoreUnavailable
from penstock.transport.artifact_stores.s3 import S3ArtifactStore
from penstock.transport.artifact_stores.s3_bucket import Bucket
from penstock.transport.artifact_stores.s3_location import S3Location
from penstock.transport.artifact_stores.s3_transfer import PART_BYTES
from tests.servers.process import free_port
from tests.servers.s3 import S3Bucket, S3Server
from tests.servers.s3_faults import Fault, FaultyWay

LARGE = b"penstock" * (5 * PART_BYTES // 16) + b"end"
"""Three parts, the last a small one."""


@pytest.fixture
async def way(s3: S3Server, bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FaultyWay]:
    async with FaultyWay(s3.endpoint) as way:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", way.endpoint)
        yield way


@pytest.fixture
async def store(way: FaultyWay, bucket: S3Bucket, tmp_path: Path) -> AsyncIterator[S3ArtifactStore]:
    async with S3ArtifactStore(bucket.url, cache=tmp_path / "cache", attempts=3) as store:
        way.counts.clear()
        yield store


@pytest.fixture
async def elsewhere(way: FaultyWay, bucket: S3Bucket, tmp_path: Path) -> AsyncIterator[S3ArtifactStore]:
    """The same store as another host sees it."""
    async with S3ArtifactStore(bucket.url, cache=tmp_path / "elsewhere", attempts=3) as store:
        way.counts.clear()
        yield store


def staged(store: S3ArtifactStore, data: bytes) -> Path:
    path = store.staging / "output"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "parts"])
async def test_what_one_host_stored_another_reads(store: S3ArtifactStore, elsewhere: S3ArtifactStore, data: bytes) -> None:
    await store.take(staged(store, data), digest_bytes(data))

    assert (await elsewhere.local(digest_bytes(data))).read_bytes() == data


@pytest.mark.parametrize("data", [b"medium" * 20_000, LARGE], ids=["medium", "parts"])
async def test_what_is_there_is_not_sent_again(store: S3ArtifactStore, elsewhere: S3ArtifactStore, way: FaultyWay, data: bytes) -> None:
    await store.take(staged(store, data), digest_bytes(data))
    await store.write(b"another")
    await elsewhere.write(b"a third")
    way.counts.clear()

    await elsewhere.take(staged(elsewhere, data), digest_bytes(data))

    assert way.counts == {"HEAD": 1}


async def test_blobs_lie_under_the_prefix_by_their_digest(store: S3ArtifactStore, bucket: S3Bucket) -> None:
    digest = (await store.write(b"where")).removeprefix("sha256:")

    async with Bucket(S3Location(bucket.name, "")) as whole:
        assert await whole.read(f"shop/artifacts/blobs/sha256/{digest[:2]}/{digest}") == b"where"


async def test_many_readers_of_one_blob_fetch_it_once(store: S3ArtifactStore, elsewhere: S3ArtifactStore, way: FaultyWay) -> None:
    digest = await store.write(b"popular")
    way.counts.clear()

    paths = await asyncio.gather(*(elsewhere.local(digest) for _ in range(20)))

    assert {path.read_bytes() for path in paths} == {b"popular"}
    assert way.counts == {"GET": 1}


async def test_processes_of_one_host_share_what_was_fetched(
    store: S3ArtifactStore, bucket: S3Bucket, way: FaultyWay, tmp_path: Path
) -> None:
    digest = await store.write(b"shared")
    async with S3ArtifactStore(bucket.url, cache=tmp_path / "cache") as other:
        way.counts.clear()

        await other.local(digest)

    assert way.counts == {}


async def test_a_reader_that_gives_up_leaves_the_fetch_to_the_others(store: S3ArtifactStore, elsewhere: S3ArtifactStore) -> None:
    digest = await store.write(b"wanted")
    impatient = asyncio.create_task(elsewhere.local(digest))
    patient = asyncio.create_task(elsewhere.local(digest))
    await asyncio.sleep(0)

    impatient.cancel()

    assert (await patient).read_bytes() == b"wanted"


async def test_a_damaged_blob_in_the_hosts_cache_is_fetched_anew(store: S3ArtifactStore) -> None:
    digest = await store.write(b"healed")
    path = store.cache.path_of(digest)
    path.chmod(0o644)
    path.write_bytes(b"damage")

    assert (await store.local(digest)).read_bytes() == b"healed"


async def test_what_a_killed_process_was_fetching_is_removed_after_a_day(store: S3ArtifactStore, bucket: S3Bucket, tmp_path: Path) -> None:
    old, young = store.staging / "fetch-old", store.staging / "fetch-young"
    for path in (old, young):
        path.touch()
    long_ago = young.stat().st_mtime - 100_000
    os.utime(old, (long_ago, long_ago))

    async with S3ArtifactStore(bucket.url, cache=tmp_path / "cache"):
        assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "parts"])
async def test_a_body_garbled_on_its_way_is_fetched_again(
    store: S3ArtifactStore, elsewhere: S3ArtifactStore, way: FaultyWay, data: bytes
) -> None:
    await store.take(staged(store, data), digest_bytes(data))
    way.faults.append(Fault("GET", part="blobs", flips_answer=True))

    assert (await elsewhere.local(digest_bytes(data))).read_bytes() == data


async def test_an_object_that_stays_corrupt_is_set_aside(store: S3ArtifactStore, elsewhere: S3ArtifactStore, bucket: S3Bucket) -> None:
    digest = await store.write(b"good")
    location = S3Location.parse(bucket.url)
    async with Bucket(location) as behind:
        await behind.put(location.blob(digest), b"evil", over=True)

        with pytest.raises(ArtifactLost, match=r"see (\S*corrupt/\S*);") as raised:
            await elsewhere.local(digest)

        aside = str(raised.value).partition("; see ")[2].partition(";")[0]
        assert await behind.read(aside) == b"evil"
        assert await behind.head(location.blob(digest)) is None


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "parts"])
async def test_a_cut_connection_does_no_harm_to_a_read(
    store: S3ArtifactStore, elsewhere: S3ArtifactStore, way: FaultyWay, data: bytes
) -> None:
    await store.take(staged(store, data), digest_bytes(data))
    way.faults.append(Fault("GET", part="blobs", times=2, cuts_answer=True))

    assert (await elsewhere.local(digest_bytes(data))).read_bytes() == data


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "parts"])
async def test_bytes_garbled_on_their_way_there_are_sent_again(
    store: S3ArtifactStore, elsewhere: S3ArtifactStore, way: FaultyWay, data: bytes
) -> None:
    await store.write(b"first")
    way.faults.append(Fault("PUT", part="blobs", flips_request=True))

    await store.take(staged(store, data), digest_bytes(data))

    assert way.faults[0].times == 0
    assert (await elsewhere.local(digest_bytes(data))).read_bytes() == data


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
async def test_a_server_that_is_busy_for_a_moment_goes_unnoticed(store: S3ArtifactStore, way: FaultyWay, status: int, code: str) -> None:
    way.faults += [Fault(method, times=1, status=status, code=code) for method in ("HEAD", "PUT", "GET")]

    digest = await store.write(b"patience")

    assert await store.lost([digest]) == set()


async def test_a_server_that_stays_busy_is_named(store: S3ArtifactStore, way: FaultyWay) -> None:
    way.faults.append(Fault("PUT", times=100, status=503, code="SlowDown"))

    with pytest.raises(StoreUnavailable, match=rf"{way.endpoint}.*503 SlowDown.*several attempts"):
        await store.write(b"in vain")


async def _write(store: S3ArtifactStore) -> None:
    await store.write(b"denied")


async def _read(store: S3ArtifactStore) -> None:
    await store.local(digest_bytes(b"denied"))


async def _look(store: S3ArtifactStore) -> None:
    await store.lost([digest_bytes(b"denied")])


async def _delete(store: S3ArtifactStore) -> None:
    await store.delete(digest_bytes(b"denied"))


DENIED = [
    ("PUT", "s3:PutObject", _write),
    ("GET", "s3:GetObject", _read),
    ("HEAD", "s3:GetObject and s3:ListBucket", _look),
    ("DELETE", "s3:DeleteObject", _delete),
]


@pytest.mark.parametrize(("method", "right", "use"), DENIED)
async def test_a_missing_right_is_named(
    store: S3ArtifactStore, way: FaultyWay, method: str, right: str, use: Callable[[S3ArtifactStore], Awaitable[None]]
) -> None:
    way.faults.append(Fault(method, times=100, status=403, code="AccessDenied"))

    with pytest.raises(StoreUnavailable, match=f"lack {right}"):
        await use(store)


async def test_a_take_that_failed_may_be_repeated(store: S3ArtifactStore, elsewhere: S3ArtifactStore, way: FaultyWay) -> None:
    path, digest = staged(store, LARGE), digest_bytes(LARGE)
    way.faults.append(Fault("POST", times=3, status=503, code="SlowDown"))
    with pytest.raises(StoreUnavailable):
        await store.take(path, digest)
    assert await store.lost([digest]) == {digest}

    await store.take(path, digest)

    assert (await elsewhere.local(digest)).read_bytes() == LARGE


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "parts"])
async def test_a_file_with_another_digest_is_not_sent(store: S3ArtifactStore, data: bytes) -> None:
    promised = digest_bytes(b"promised")

    await store.take(staged(store, data), promised)

    assert await store.lost([promised]) == {promised}


async def test_hundreds_are_looked_for_at_once(store: S3ArtifactStore) -> None:
    present = {await store.write(str(number).encode()) for number in range(5)}
    absent = {digest_bytes(f"absent {number}".encode()) for number in range(300)}

    assert await store.lost(present | absent) == absent


async def test_a_restart_of_the_server_goes_unnoticed(s3: S3Server, bucket: S3Bucket, tmp_path: Path) -> None:
    async with S3ArtifactStore(bucket.url, cache=tmp_path / "cache") as store:
        await store.write(b"before")
        await asyncio.to_thread(s3.kill)
        writing = asyncio.create_task(store.write(b"meanwhile"))
        await asyncio.to_thread(s3.start)

        assert await store.lost([await writing]) == set()


async def test_a_server_that_is_not_there_is_named(bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint := f"http://127.0.0.1:{free_port()}")

    with pytest.raises(StoreUnavailable, match=rf"no answer .*{endpoint}.*AWS_ENDPOINT_URL_S3"):
        async with S3ArtifactStore(bucket.url, cache=tmp_path, attempts=2):
            raise AssertionError


async def test_a_missing_bucket_is_said_to_be_missing(bucket: S3Bucket, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no such bucket"):
        async with S3ArtifactStore("s3://nobodys-bucket/x", cache=tmp_path):
            raise AssertionError


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
async def test_wrong_credentials_are_called_wrong_and_not_shown(
    bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "quite-wrong-value")

    with pytest.raises(StoreUnavailable, match="credentials are refused") as raised:
        async with S3ArtifactStore(bucket.url, cache=tmp_path):
            raise AssertionError

    assert "quite-wrong-value" not in str(raised.value)
    assert bucket.environment["AWS_SECRET_ACCESS_KEY"] not in str(raised.value)


async def test_missing_credentials_are_asked_for(bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    with pytest.raises(StoreUnavailable, match="set AWS_ACCESS_KEY_ID"):
        async with S3ArtifactStore(bucket.url, cache=tmp_path):
            raise AssertionError


MEMORY = """
import asyncio, hashlib, os, resource, sys
from pathlib import Path
from penstock.transport.artifact_stores.s3 import S3ArtifactStore

async def main(url, folder, megabytes):
    async with S3ArtifactStore(url, cache=folder / "one") as one, S3ArtifactStore(url, cache=folder / "two") as two:
        staged, hashed = one.staging / "large", hashlib.sha256()
        with staged.open("wb") as file:
            for number in range(megabytes):
                piece = number.to_bytes(8) * 131072
                hashed.update(piece)
                file.write(piece)
        digest = "sha256:" + hashed.hexdigest()
        await one.write(b"warm")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await one.take(staged, digest)
        path = await two.local(digest)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        print(path.stat().st_size // 2**20, grown)

asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
"""


def test_memory_does_not_grow_with_the_size_of_a_file(bucket: S3Bucket, tmp_path: Path) -> None:
    megabytes = 160

    told = subprocess.run(
        [sys.executable, "-c", MEMORY, bucket.url, str(tmp_path), str(megabytes)], capture_output=True, text=True, check=True
    )

    size, grown = map(int, told.stdout.split())
    assert size == megabytes
    assert grown < 140


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "parts"])
async def test_a_file_with_another_digest_is_not_stored_and_that_is_said(store: S3ArtifactStore, data: bytes) -> None:
    digest = digest_bytes(b"promised")

    with capture_logs() as logs:
        await store.take(staged(store, data), digest)

    assert [(line["event"], line["digest"]) for line in logs] == [("artifact.not_stored", digest)]
    assert "does not hold the bytes" in logs[0]["reason"]
    assert await store.lost([digest]) == {digest}
