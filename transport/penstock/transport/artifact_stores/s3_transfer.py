"""Large and small blobs to S3 and back, in parallel parts of bounded size, so that memory depends on no file's size."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ArtifactLost, StoreUnavailable
from penstock.transport.artifact_stores.s3_bucket import Bucket, StoredObject
from penstock.transport.artifact_stores.s3_errors import TransferGarbled
from penstock.transport.artifact_stores.s3_parallel import in_parallel

PART_BYTES = 8 * 1024 * 1024
# Of one blob at once, and of all together: what bounds the memory.
_PARTS_OF_ONE = 4
_PARTS_OF_ALL = 8
# S3 takes no more parts of one object; beyond 80 GB they grow.
_MOST_PARTS = 10_000
# Asking first whether they are there would cost as much as sending them.
_UNASKED_BYTES = 64 * 1024
_SENDINGS = 3


class Transfers:
    """All transfers of one store. `key_of` tells the key for a digest: that of a blob, if nothing else is said."""

    def __init__(self, bucket: Bucket, key_of: Callable[[str], str] | None = None) -> None:
        self._bucket = bucket
        self._key_of = key_of or bucket.location.blob
        self._parts = asyncio.Semaphore(_PARTS_OF_ALL)

    async def send_bytes(self, data: bytes, digest: str) -> None:
        key = self._key_of(digest)
        if len(data) > _UNASKED_BYTES and await self._holds(key, data):
            return
        async with self._parts:
            await self._send_whole(key, data)

    async def send_file(self, path: Path, digest: str) -> None:
        """:raises ArtifactLost: the file has another digest; nothing was stored."""
        size = (await asyncio.to_thread(path.stat)).st_size
        if size <= PART_BYTES:
            async with self._parts:
                data = await asyncio.to_thread(path.read_bytes)
                if await asyncio.to_thread(digest_bytes, data) != digest:
                    raise _other_bytes(path, digest)
            return await self.send_bytes(data, digest)
        key = self._key_of(digest)
        stored = await self._bucket.head(key)
        if stored is not None and stored.size == size:
            return None
        for sending in range(_SENDINGS):
            try:
                return await self._send_parts(key, path, size, digest)
            except TransferGarbled:
                if sending + 1 == _SENDINGS:
                    raise
        return None

    async def fetch(self, digest: str, target: Path) -> StoredObject | None:
        """Writes the blob to the new file `target`. None: there is none. Nothing is verified.

        :raises OSError: a full disk, say.
        """
        key = self._key_of(digest)
        with target.open("xb") as file:

            async def keep(offset: int, data: bytes) -> None:
                await asyncio.to_thread(os.pwrite, file.fileno(), data, offset)

            stored = await self._bucket.read_range(key, 0, PART_BYTES, keep)
            if stored is None or stored.size <= PART_BYTES:
                return stored
            starts = iter(range(PART_BYTES, stored.size, PART_BYTES))

            async def fetch_some() -> None:
                for start in starts:
                    async with self._parts:
                        if await self._bucket.read_range(key, start, PART_BYTES, keep) is None:
                            raise _Vanished

            try:
                await in_parallel(fetch_some, _PARTS_OF_ONE)
            except _Vanished:
                return None
            return stored

    async def _holds(self, key: str, data: bytes) -> bool:
        stored = await self._bucket.head(key)
        if stored is None or stored.size != len(data):
            return False
        return stored.md5 in (None, await asyncio.to_thread(lambda: hashlib.md5(data, usedforsecurity=False).hexdigest()))

    async def _send_whole(self, key: str, data: bytes) -> None:
        for sending in range(_SENDINGS):
            try:
                if not await self._bucket.put(key, data, over=False) and not await self._holds(key, data):
                    await self._bucket.put(key, data, over=True)
            except TransferGarbled:
                if sending + 1 == _SENDINGS:
                    raise
            else:
                return

    async def _send_parts(self, key: str, path: Path, size: int, digest: str) -> None:
        upload = await self._bucket.begin_parts(key)
        try:
            with path.open("rb", buffering=0) as file:
                reading = _Reading(file, size)
                await in_parallel(lambda: self._send_some(key, upload, reading), _PARTS_OF_ONE)
            reading.check(path, digest)
            await self._bucket.join_parts(key, upload, reading.tags)
        except BaseException:
            # Parts of an upload that nobody ends are paid for. One cut off here is the bucket's lifecycle rule's to end.
            with suppress(StoreUnavailable):
                await self._bucket.drop_parts(key, upload)
            raise
        stored = await self._bucket.head(key)
        if stored is None or stored.size != size:
            found = "nothing" if stored is None else f"{stored.size} bytes"
            raise TransferGarbled(
                f"storing {key} in {self._bucket.where}: {size} bytes were sent, and {found} is there; see the server's log"
            )

    async def _send_some(self, key: str, upload: str, reading: "_Reading") -> None:
        while True:
            async with self._parts:
                part = await reading.next_part()
                if part is None:
                    return
                number, data = part
                tag = await self._bucket.put_part(key, upload, number, data)
                reading.tags[number] = tag
                del part, data  # else they live on while this task waits for its turn


class _Vanished(Exception):
    """Deleted while it was read."""


class _Reading:
    """A file read part by part by several tasks, hashed in its order."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._part_bytes = max(PART_BYTES, -(-size // _MOST_PARTS))
        self._hash = hashlib.sha256()
        self._number = 0
        self._turn = asyncio.Lock()
        self.tags: dict[int, str] = {}

    async def next_part(self) -> tuple[int, bytes] | None:
        async with self._turn:
            data = await asyncio.to_thread(self._read)
            if not data:
                return None
            self._number += 1
            return self._number, data

    def check(self, path: Path, digest: str) -> None:
        """:raises ArtifactLost: what was read has another digest."""
        if f"sha256:{self._hash.hexdigest()}" != digest:
            raise _other_bytes(path, digest)

    def _read(self) -> bytes:
        data = self._file.read(self._part_bytes)
        self._hash.update(data)
        return data


def _other_bytes(path: Path, digest: str) -> ArtifactLost:
    return ArtifactLost(f"{path} does not hold the bytes of {digest}, so it is not stored; rerun the step that made it", digest)
