"""Shared cache entries in S3, beside the blobs of an artifact store: one small object each."""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Self

from penstock.transport.artifact_stores.s3_bucket import Bucket
from penstock.transport.artifact_stores.s3_connection import ATTEMPTS
from penstock.transport.artifact_stores.s3_location import S3Location
from penstock.transport.artifact_stores.s3_parallel import in_parallel
from penstock.transport.shared_cache import entry_path

_AT_ONCE = 32


class S3SharedCache:
    """`async with S3SharedCache("s3://bucket/prefix") as shared`, with the address of the artifact store.

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

    async def get_many(self, workspace: str, keys: Iterable[str]) -> dict[str, bytes]:
        wanted = {key: self._key(workspace, key) for key in keys}
        left = iter(wanted.items())
        found: dict[str, bytes] = {}

        async def get_some() -> None:
            for key, place in left:
                if (data := await self._bucket.read(place)) is not None:
                    found[key] = data

        await in_parallel(get_some, min(len(wanted), _AT_ONCE))
        return found

    async def put(self, workspace: str, key: str, data: bytes) -> None:
        place = self._key(workspace, key)
        if await self._bucket.is_conditional() or await self._bucket.head(place) is None:
            await self._bucket.put(place, data, over=False)

    def _key(self, workspace: str, key: str) -> str:
        return self._bucket.location.key(entry_path(workspace, key))
