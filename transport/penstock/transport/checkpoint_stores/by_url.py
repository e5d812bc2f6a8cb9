"""The checkpoints beside the artifact store that an address names: `file:///folder` or `s3://bucket/prefix`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from penstock.transport.artifact_stores.by_url import folder_of
from penstock.transport.checkpoint_stores.folder import FolderCheckpoints
from penstock.transport.checkpoint_stores.s3 import S3Checkpoints
from penstock.transport.checkpoints import CheckpointStore


@asynccontextmanager
async def open_checkpoints(url: str) -> AsyncGenerator[CheckpointStore]:
    """:raises InvalidInput: no such kind of address.
    :raises StoreUnavailable: the store can't be reached or refuses us.
    """
    if url.startswith("file:"):
        yield FolderCheckpoints(folder_of(url))
    else:
        async with S3Checkpoints(url) as checkpoints:
            yield checkpoints
