"""A datastore in S3, by s3fs: `s3://lake/daily`. Marks are ETags. Listings are never cached, and reads are bound to the ETag."""

import datetime as dt
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import s3fs  # type: ignore[import-untyped]  # it ships no types
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from fsspec.exceptions import FSTimeoutError  # type: ignore[import-untyped]  # it ships no types
from s3fs.utils import FileExpired  # type: ignore[import-untyped]  # it ships no types

from penstock.contracts.errors import DataChanged, DatastoreUnavailable
from penstock.transport.data_addresses import is_usable
from penstock.transport.datastore import FoundObject
from penstock.transport.datastores.place import PIECE_BYTES, Declaration

_SCHEME = "s3://"
_CONFIGURATION = {
    "retries": {"mode": "standard", "total_max_attempts": 4},
    "connect_timeout": 5,
    "read_timeout": 60,
    # Servers other than Amazon's know no trailing checksums.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


class S3Place:
    def __init__(self, declaration: Declaration) -> None:
        self._declaration = declaration
        # The library itself knows AWS_DEFAULT_REGION only.
        self._region = declaration.region or os.environ.get("AWS_REGION")
        self._opened: Any = None

    def objects(self, base: str, prefix: str, depth: int | None) -> Iterator[FoundObject]:
        for details in self._listed(base.removeprefix(_SCHEME), prefix, depth):
            if not str(details["name"]).endswith("/") and is_usable(_SCHEME + str(details["name"])):
                yield _found(details)

    def _listed(self, folder: str, prefix: str, depth: int | None) -> Iterator[dict[str, Any]]:
        for details in self._level(folder, prefix, depth):
            if details["type"] == "file":
                yield details
            elif depth is None or depth > 1:
                yield from self._listed(details["name"], "", None if depth is None else depth - 1)

    def _level(self, folder: str, prefix: str, depth: int | None) -> list[dict[str, Any]]:
        """Through `find` without a prefix and with a depth, s3fs takes a refusal for an empty folder; so that is not asked of it."""
        with self._explained(_SCHEME + folder):
            try:
                if depth is None:
                    return list(self._files().find(folder, prefix=prefix, detail=True).values())
                if prefix:
                    return list(self._files().find(folder, maxdepth=1, prefix=prefix, withdirs=True, detail=True).values())
                return list(self._files().ls(folder, detail=True, refresh=True))
            except FileNotFoundError as error:
                if _code(error) == "NoSuchBucket":
                    raise DatastoreUnavailable(f"{_SCHEME}{folder}: there is no such bucket; correct the datastore's url") from error
                return []

    def look(self, uri: str) -> FoundObject | None:
        with self._explained(uri):
            try:
                details = self._files().info(uri.removeprefix(_SCHEME), refresh=True)
            except FileNotFoundError:
                return None
        return _found(details) if details.get("type") == "file" else None

    def pieces(self, found: FoundObject) -> Iterator[bytes]:
        changed = f"{found.uri} is not what it was when it was found; nothing of it was taken"
        left = found.size
        try:
            with self._explained(found.uri):
                file = self._files().open(found.uri.removeprefix(_SCHEME), "rb", block_size=PIECE_BYTES)
                if _found(file.details).mark != found.mark:
                    raise DataChanged(changed)
            while left > 0:
                with self._explained(found.uri):
                    piece = file.read(min(left, PIECE_BYTES))
                if not piece:
                    break
                left -= len(piece)
                yield piece
        except (FileExpired, FileNotFoundError) as error:
            raise DataChanged(changed) from error
        # Not every server heeds the condition that each read carries.
        if left or (seen := self.look(found.uri)) is None or seen.mark != found.mark:
            raise DataChanged(changed)

    def _files(self) -> Any:
        if self._opened is None:
            own = self._declaration.credentials
            key, secret, token = _parts(own(), self._declaration.name) if own is not None else (None, None, None)
            self._opened = s3fs.S3FileSystem(
                key=key,
                secret=secret,
                token=token,
                endpoint_url=self._declaration.endpoint_url,
                client_kwargs={"region_name": self._region} if self._region else {},
                config_kwargs=_CONFIGURATION,
                use_listings_cache=False,
                skip_instance_cache=True,
            )
        return self._opened

    @contextmanager
    def _explained(self, uri: str) -> Generator[None]:
        """:raises DatastoreUnavailable: in place of whatever the libraries raise, but for objects that are gone or have changed."""
        told = f"the datastore {self._declaration.name!r} can't give {uri}"
        try:
            yield
        except (FileNotFoundError, FileExpired):
            raise
        except PermissionError as error:
            raise DatastoreUnavailable(f"{told}: not allowed; its credentials are wrong, or lack s3:GetObject and s3:ListBucket") from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise DatastoreUnavailable(f"{told}: there are no credentials; set the AWS variables, or name a secret for it") from error
        except (OSError, ClientError, BotoCoreError, aiohttp.ClientError, FSTimeoutError) as error:
            raise DatastoreUnavailable(f"{told}: no answer that is of use ({type(error).__name__}); is the server up?") from error


def _found(details: dict[str, Any]) -> FoundObject:
    changed = details.get("LastModified")
    at = int(changed.timestamp() * 1_000_000) if isinstance(changed, dt.datetime) else 0
    mark = str(details.get("ETag", "")).strip('"')
    return FoundObject(uri=_SCHEME + str(details["name"]), mark=mark, size=int(details["size"]), changed_at=at)


def _code(error: Exception) -> str:
    cause = error.__cause__
    return cause.response.get("Error", {}).get("Code", "") if isinstance(cause, ClientError) else ""


def _parts(credentials: str, name: str) -> tuple[str, str, str | None]:
    key, colon, rest = credentials.strip().partition(":")
    secret, _, token = rest.partition(":")
    if not colon or not key or not secret:
        raise DatastoreUnavailable(f"the secret of the datastore {name!r} is not ACCESS_KEY_ID:SECRET_ACCESS_KEY")
    return key, secret, token or None
