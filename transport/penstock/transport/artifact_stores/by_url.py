"""The artifact store that an address names: `file:///folder` or `s3://bucket/prefix`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from penstock.contracts.errors import InvalidInput
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from penstock.transport.artifact_stores.s3 import S3ArtifactStore


@asynccontextmanager
async def open_artifact_store(url: str, cache: Path) -> AsyncGenerator[ArtifactStore]:
    """:param cache: the host's cache; a folder needs none
    :raises InvalidInput: no such kind of address, or a folder that can't be used.
    :raises StoreUnavailable: the store can't be reached or refuses us.
    """
    if url.startswith("file:"):
        folder = folder_of(url)
        try:
            store = FolderArtifactStore(folder)
        except OSError as error:
            raise InvalidInput(f"artifacts can't be kept in {folder}: {error.strerror}; correct PENSTOCK_ARTIFACTS_URL") from error
        yield store
    elif url.startswith("s3:"):
        async with S3ArtifactStore(url, cache) as store_in_s3:
            yield store_in_s3
    else:
        scheme = url.partition(":")[0][:20]
        raise InvalidInput(
            f"artifacts can't be kept at an address that begins with {scheme!r}; one reads file:///folder or s3://bucket/prefix"
        )


def folder_of(url: str) -> Path:
    """:raises InvalidInput: not `file:///` and the absolute path of a folder."""
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not path.is_absolute() or parts.query or parts.fragment:
        raise InvalidInput(f"{url!r} names no folder; one reads file:///absolute/path, with three slashes")
    return path
