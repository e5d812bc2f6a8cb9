"""A server that honours conditions: the real one of these tests does not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from penstock.contracts.encoding import digest_bytes
from penstock.transport.artifact_stores.s3 import S3ArtifactStore
from penstock.transport.artifact_stores.s3_bucket import Bucket
from penstock.transport.artifact_stores.s3_location import S3Location
from penstock.transport.shared_caches.s3 import S3SharedCache
from tests.servers.process import free_port
from tests.servers.s3 import S3Bucket, make_bucket
from tests.servers.s3_faults import Fault, FaultyWay


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(moto: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> S3Bucket:
    bucket = make_bucket(moto, "key", "secret")
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return bucket


async def test_it_is_found_out_that_the_server_honours_them(bucket: S3Bucket) -> None:
    async with Bucket(S3Location.parse(bucket.url)) as behind:
        assert await behind.is_conditional()


async def test_it_is_found_out_that_a_server_refuses_them(moto: str, bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FaultyWay(moto) as way:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", way.endpoint)
        way.faults.append(Fault("PUT", "probe", times=2, status=501, code="NotImplemented"))
        async with Bucket(S3Location.parse(bucket.url), attempts=1) as behind:
            assert not await behind.is_conditional()


async def test_what_is_there_stays_and_is_known(bucket: S3Bucket) -> None:
    async with Bucket(S3Location.parse(bucket.url)) as behind:
        assert await behind.put("key", b"first", over=False)
        assert not await behind.put("key", b"second", over=False)

        assert await behind.read("key") == b"first"


async def test_a_damaged_object_does_not_keep_the_right_one_out(bucket: S3Bucket, tmp_path: Path) -> None:
    location, digest = S3Location.parse(bucket.url), digest_bytes(b"right")
    async with Bucket(location) as behind, S3ArtifactStore(bucket.url, cache=tmp_path) as store:
        await behind.put(location.blob(digest), b"wrong", over=True)

        await store.write(b"right")

        assert await behind.read(location.blob(digest)) == b"right"


async def test_a_checksum_that_the_server_keeps_tells_damage_without_reading(bucket: S3Bucket, tmp_path: Path) -> None:
    location = S3Location.parse(bucket.url)
    async with Bucket(location) as behind, S3ArtifactStore(bucket.url, cache=tmp_path) as store:
        digest = await store.write(b"right")
        assert await store.lost([digest]) == set()

        await behind.put(location.blob(digest), b"wrong", over=True)

        assert await store.lost([digest]) == {digest}


async def test_the_first_of_two_cache_entries_stays(bucket: S3Bucket) -> None:
    async with S3SharedCache(bucket.url) as shared:
        await shared.put("default", "1" * 64, b"first")
        await shared.put("default", "1" * 64, b"second")

        assert await shared.get_many("default", ["1" * 64]) == {"1" * 64: b"first"}
