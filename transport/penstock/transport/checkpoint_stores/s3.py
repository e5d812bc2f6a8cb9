"""Checkpoints in S3, beside the blobs of an artifact store: bytes in an object named by their digest, and a small one that names it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from penstock.contracts.errors import ArtifactLost, StoreUnavailable
from penstock.transport.artifact_stores.s3_bucket import Bucket
from penstock.transport.artifact_stores.s3_connection import ATTEMPTS
from penstock.transport.artifact_stores.s3_location import S3Location
from penstock.transport.artifact_stores.s3_transfer import Transfers
from penstock.transport.checkpoints import checkpoint_path, pointed_at
from penstock.transport.directories import file_digest


class S3Checkpoints:
    """`async with S3Checkpoints("s3://bucket/prefix") as checkpoints`, with the address of the artifact store.

    :param attempts: how often one request is tried
    :raises InvalidInput: no such kind of address.
    """

    def __init__(self, url: str, *, attempts: int = ATTEMPTS) -> None:
        self._bucket = Bucket(S3Location.parse(url), attempts=attempts)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """:raises StoreUnavailable: no such bucket, wrong credentials, missing rights, or no answer; the text says which."""
        await self._stack.enter_async_context(self._bucket)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def save(self, workspace: str, name: str, archive: Path) -> None:
        place = _Place(self._bucket, workspace, name)
        digest = await asyncio.to_thread(file_digest, archive)
        before = await place.current()
        try:
            await place.transfers.send_file(archive, digest)
        except ArtifactLost as error:
            raise StoreUnavailable(f"the checkpoint changed while it was stored in {self._bucket.where}") from error
        await self._bucket.put(place.pointer, digest.encode(), over=True)
        if before not in (None, digest):
            await self._bucket.delete(place.key(str(before)))

    async def load(self, workspace: str, name: str, target: Path) -> bool:
        place = _Place(self._bucket, workspace, name)
        digest = await place.current()
        while digest is not None:
            target.unlink(missing_ok=True)  # noqa: ASYNC240 - one system call
            if await place.transfers.fetch(digest, target) is not None and await asyncio.to_thread(file_digest, target) == digest:
                return True
            latest = await place.current()
            # Somebody saved another one meanwhile, else it is damaged.
            digest = latest if latest != digest else None
        target.unlink(missing_ok=True)  # noqa: ASYNC240 - one system call
        return False

    async def remove(self, workspace: str, name: str) -> None:
        place = _Place(self._bucket, workspace, name)
        digest = await place.current()
        if digest is not None:
            await self._bucket.delete(place.pointer)
            await self._bucket.delete(place.key(digest))


class _Place:
    """Where one checkpoint is in the bucket. What it consists of is nobody else's, though it had the same bytes."""

    def __init__(self, bucket: Bucket, workspace: str, name: str) -> None:
        self._bucket = bucket
        self._folder = bucket.location.key(checkpoint_path(workspace, name))
        self.pointer = f"{self._folder}/current"
        self.transfers = Transfers(bucket, self.key)

    def key(self, digest: str) -> str:
        return f"{self._folder}/{digest.removeprefix('sha256:')}"

    async def current(self) -> str | None:
        """The digest of what was saved last."""
        data = await self._bucket.read(self.pointer)
        return pointed_at(data) if data else None
