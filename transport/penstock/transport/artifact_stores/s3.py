"""The artifact store in S3, with a folder of verified blobs on this host that all its processes share.

Keys are `<prefix>/blobs/sha256/ab/<hex>`. Everything that is read went through the folder, so it has the digest that was asked for.
"""

import asyncio
import secrets
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Self

import structlog

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ArtifactLost, StoreUnavailable
from penstock.transport.artifact_stores.s3_bucket import Bucket, StoredObject
from penstock.transport.artifact_stores.s3_connection import ATTEMPTS
from penstock.transport.artifact_stores.s3_location import S3Location
from penstock.transport.artifact_stores.s3_parallel import in_parallel
from penstock.transport.artifact_stores.s3_transfer import Transfers
from penstock.transport.blobs import ALWAYS_HASHED_BYTES, BlobFolder

_log = structlog.get_logger(__name__)
_LOOKS_AT_ONCE = 64
# A transfer may have been garbled on its way; twice in a row, the object is.
_FETCHES = 2
_ABANDONED_SECONDS = 24 * 3600


class S3ArtifactStore:
    """`async with S3ArtifactStore("s3://bucket/prefix", cache=folder) as artifacts`. Endpoint, region and credentials are those of the
    AWS SDK's variables.

    :param cache: a folder of this host, shared by its runners and guests
    :param attempts: how often one request is tried
    :raises InvalidInput: no such kind of address.
    """

    def __init__(self, url: str, cache: Path, *, attempts: int = ATTEMPTS) -> None:
        self._bucket = Bucket(S3Location.parse(url), attempts=attempts)
        self._transfers = Transfers(self._bucket)
        self._stack = AsyncExitStack()
        self._fetches: dict[str, asyncio.Task[Path]] = {}
        self.cache = BlobFolder(cache)

    async def __aenter__(self) -> Self:
        """:raises StoreUnavailable: no such bucket, wrong credentials, missing rights, or no answer; the text says which."""
        await self._stack.enter_async_context(self._bucket)
        await asyncio.to_thread(_remove_abandoned, self.staging)
        return self

    async def __aexit__(self, *_: object) -> None:
        unfinished = list(self._fetches.values())
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        await self._stack.aclose()

    @property
    def staging(self) -> Path:
        return self.cache.staging

    async def write(self, data: bytes) -> str:
        digest = digest_bytes(data)
        await asyncio.gather(asyncio.to_thread(self.cache.write, data), self._transfers.send_bytes(data, digest))
        return digest

    async def take(self, staged: Path, digest: str) -> None:
        """As the port says; also, a file with another digest is not stored. It may be called again when the store was unavailable."""
        await asyncio.to_thread(self.cache.take, staged, digest)
        path = self.cache.path_of(digest)
        try:
            await self._transfers.send_file(path, digest)
        except ArtifactLost as error:
            # The port has a wrong digest found by who reads first: there is nothing to read, and whoever made it is asked for it again.
            _log.warning("artifact.not_stored", digest=digest, reason=str(error))
            with suppress(ArtifactLost):
                await asyncio.to_thread(self.cache.local, digest)  # sets it aside

    async def local(self, digest: str) -> Path:
        if (found := await self._cached(digest)) is not None:
            return found
        task = self._fetches.get(digest)
        if task is None:
            task = self._fetches[digest] = asyncio.create_task(self._fetch(digest))
            task.add_done_callback(partial(self._fetched, digest))
        # Whoever is cancelled while waiting leaves it to the others.
        return await asyncio.shield(task)

    async def lost(self, digests: Iterable[str]) -> set[str]:
        """By looking at each object: what is there, and of the right checksum where the server keeps one, counts as well kept. Other
        damage is found when it is read.

        Nothing is remembered: the engine does not ask again within its interval, and a second memory would only add to that.
        """
        wanted = {digest: self._key(digest) for digest in digests}
        left = iter(wanted.items())
        missing: set[str] = set()

        async def look() -> None:
            for digest, key in left:
                stored = await self._bucket.head(key)
                if stored is None or stored.sha256 not in (None, digest[7:]):
                    missing.add(digest)

        await in_parallel(look, min(len(wanted), _LOOKS_AT_ONCE))
        return missing

    async def delete(self, digest: str) -> None:
        self.cache.delete(digest)
        await self._bucket.delete(self._key(digest))

    async def _cached(self, digest: str) -> Path | None:
        path = self.cache.path_of(digest)
        try:
            if path.stat().st_size <= ALWAYS_HASHED_BYTES:
                return self.cache.local(digest)
            return await asyncio.to_thread(self.cache.local, digest)
        except (ArtifactLost, FileNotFoundError):
            return None
        except OSError as error:
            raise self._unusable(error) from error

    def _fetched(self, digest: str, task: asyncio.Task[Path]) -> None:
        del self._fetches[digest]
        if not task.cancelled():
            task.exception()  # seen, also if nobody waits any more

    async def _fetch(self, digest: str) -> Path:
        for _ in range(_FETCHES - 1):
            await self._fetch_unverified(digest)
            with suppress(ArtifactLost):
                return await asyncio.to_thread(self.cache.local, digest)
        seen = await self._fetch_unverified(digest)
        with suppress(ArtifactLost):
            return await asyncio.to_thread(self.cache.local, digest)
        aside = self._bucket.location.key(f"corrupt/{digest[7:]}-{secrets.token_hex(4)}")
        with suppress(StoreUnavailable):  # without the right to do so it stays, and is found corrupt each time
            await self._bucket.set_aside(self._key(digest), seen, aside)
        raise ArtifactLost(f"artifact {digest} is corrupt in {self._bucket.where}; see {aside}; rerun the step that made it", digest)

    async def _fetch_unverified(self, digest: str) -> StoredObject:
        staged = self.cache.staging / f"fetch-{secrets.token_hex(8)}"
        try:
            stored = await self._transfers.fetch(digest, staged)
            if stored is not None:
                await asyncio.to_thread(self.cache.take, staged, digest)
                return stored
        except OSError as error:
            raise self._unusable(error) from error
        finally:
            staged.unlink(missing_ok=True)
        raise ArtifactLost(f"artifact {digest} is gone from {self._bucket.where}; rerun the step that made it", digest)

    def _key(self, digest: str) -> str:
        self.cache.path_of(digest)  # refuses what is no digest
        return self._bucket.location.blob(digest)

    def _unusable(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"the host's cache of artifacts {self.cache.staging.parent} can't be used: {error}; is its disk full?")


def _remove_abandoned(staging: Path) -> None:
    """What processes were fetching when they were killed. No fetch pauses for a day."""
    for path in staging.glob("fetch-*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()
