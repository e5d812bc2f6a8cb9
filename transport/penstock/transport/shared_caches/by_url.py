"""The shared cache beside the artifact store that an address names: `file:///folder` or `s3://bucket/prefix`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from penstock.transport.artifact_stores.by_url import folder_of
from penstock.transport.shared_cache import SharedCache
from penstock.transport.shared_caches.folder import FolderSharedCache
from penstock.transport.shared_caches.s3 import S3SharedCache


@asynccontextmanager
async def open_shared_cache(url: str) -> AsyncGenerator[SharedCache]:
    """:raises InvalidInput: no such kind of address.
    :raises StoreUnavailable: the store can't be reached or refuses us.
    """
    if url.startswith("file:"):
        yield FolderSharedCache(folder_of(url))
    else:
        async with S3SharedCache(url) as cache:
            yield cache
