"""One place in S3: the few requests that Penstock makes there, retried, and their errors in its words."""

import asyncio
import base64
import hashlib
import io
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self

from botocore.exceptions import ClientError

from penstock.contracts.errors import StoreUnavailable
from penstock.transport.artifact_stores.s3_connection import ATTEMPTS, connected
from penstock.transport.artifact_stores.s3_errors import UNREACHED, code_of, explained, is_missing, status_of
from penstock.transport.artifact_stores.s3_location import S3Location

if TYPE_CHECKING:  # their package is for developers only
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef, HeadObjectOutputTypeDef

_CHUNK_BYTES = 1024 * 1024
# What one request may copy within S3.
_COPY_BYTES = 5 * 1024**3

Sink = Callable[[int, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What S3 says of an object. `md5` and `sha256` are of its bytes, where the server tells them."""

    size: int
    etag: str
    modified: datetime
    md5: str | None = None
    sha256: str | None = None


class Bucket:
    """An open connection to `location`. Safe for many tasks of one event loop.

    :param attempts: how often one request is tried
    """

    def __init__(self, location: S3Location, *, attempts: int = ATTEMPTS) -> None:
        self.location = location
        self._attempts = attempts
        self._stack = AsyncExitStack()
        self._opened: S3Client | None = None
        self._is_conditional: bool | None = None
        self._probing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """:raises StoreUnavailable: no such bucket, wrong credentials, no right to list, or no answer."""
        self._opened = await self._stack.enter_async_context(connected(self.location, self._attempts))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self._opened = None

    @property
    def where(self) -> str:
        return f"{self.location} at {self._client.meta.endpoint_url}"

    async def head(self, key: str) -> StoredObject | None:
        with explained(f"looking for {key}", self.where, "s3:GetObject and s3:ListBucket"):
            try:
                answer = await self._client.head_object(Bucket=self.location.bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if is_missing(error):
                    return None
                raise
        return _stored(answer)

    async def read(self, key: str) -> bytes | None:
        """A small object's bytes, or None if there is none."""
        pieces: dict[int, bytes] = {}

        async def keep(offset: int, data: bytes) -> None:
            pieces[offset] = data

        if await self.read_range(key, 0, 5 * 1024**3, keep) is None:
            return None
        return b"".join(pieces[offset] for offset in sorted(pieces))

    async def read_range(self, key: str, start: int, length: int, sink: Sink) -> StoredObject | None:
        """Gives at most `length` bytes from `start` on to `sink`, piece by piece; returns what the whole object is, None if there is none.

        A piece may be given twice, as a broken transfer begins again.
        """
        for attempt in range(self._attempts):
            try:
                with explained(f"reading {key}", self.where, "s3:GetObject"):
                    return await self._read_range(key, start, length, sink)
            except StoreUnavailable as error:
                if attempt + 1 == self._attempts or not isinstance(error.__cause__, UNREACHED):
                    raise
            await asyncio.sleep(random.uniform(0, min(2**attempt, 16)) / 4)  # noqa: S311  # spreads clients, hides nothing
        raise AssertionError("the last attempt returns or raises")

    async def _read_range(self, key: str, start: int, length: int, sink: Sink) -> StoredObject | None:
        try:
            answer = await self._client.get_object(Bucket=self.location.bucket, Key=key, Range=f"bytes={start}-{start + length - 1}")
        except ClientError as error:
            if is_missing(error):
                return None
            if status_of(error) == 416 and start == 0:
                return await self.head(key)  # empty: it has no first byte
            raise
        position = start
        async with answer["Body"] as body:
            while data := await body.read(_CHUNK_BYTES):
                await sink(position, data)
                position += len(data)
        if position - start != answer["ContentLength"]:
            raise ConnectionError(f"{position - start} of {answer['ContentLength']} bytes arrived")
        return _stored(answer)

    async def put(self, key: str, data: bytes, *, over: bool) -> bool:
        """Stores `data` whole. Not `over`: an object that is there stays, where the server can do that; then the answer is False.

        :raises TransferGarbled: other bytes arrived.
        """
        md5 = await asyncio.to_thread(lambda: hashlib.md5(data, usedforsecurity=False).digest())
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(data).digest())
        condition = not over and await self.is_conditional()
        with explained(f"storing {key}", self.where, "s3:PutObject"):
            try:
                await self._put(key, data, condition=condition, md5=md5, sha256=sha256)
            except ClientError as error:
                # 409: somebody stores it at this moment.
                if condition and status_of(error) in (409, 412):
                    return False
                raise
        return True

    async def _put(self, key: str, data: bytes, *, condition: bool, md5: bytes, sha256: bytes) -> None:
        checksums = {
            "ContentMD5": base64.b64encode(md5).decode(),
            "ChecksumSHA256": base64.b64encode(sha256).decode(),
            "ChecksumAlgorithm": "SHA256",
        }
        place = {"Bucket": self.location.bucket, "Key": key}
        extra = {"IfNoneMatch": "*"} if condition else {}
        await self._client.put_object(Body=io.BytesIO(data), **place, **checksums, **extra)  # type: ignore[arg-type]  # by keywords

    async def is_conditional(self) -> bool:
        """Whether the server honours `If-None-Match: *`. Found out once, by an object `probe`."""
        async with self._probing:
            if self._is_conditional is None:
                key = self.location.key("probe")
                with explained(f"storing {key}", self.where, "s3:PutObject"):
                    # The first may make it; the second can't, where the condition is honoured.
                    await self._is_refused(key)
                    self._is_conditional = await self._is_refused(key)
            return self._is_conditional

    async def _is_refused(self, key: str) -> bool:
        """Whether the condition kept `key` from being stored."""
        try:
            await self._put(
                key, b"", condition=True, md5=hashlib.md5(b"", usedforsecurity=False).digest(), sha256=hashlib.sha256(b"").digest()
            )
        except ClientError as error:
            if status_of(error) == 501 or code_of(error) == "NotImplemented":
                return False
            if status_of(error) in (409, 412):
                return True
            raise
        return False

    async def delete(self, key: str) -> None:
        with explained(f"deleting {key}", self.where, "s3:DeleteObject"):
            await self._client.delete_object(Bucket=self.location.bucket, Key=key)

    async def set_aside(self, key: str, seen: StoredObject, aside: str) -> None:
        """Moves the object to `aside`, unless it is another by now than the one that was `seen`."""
        now = await self.head(key)
        if now is None or (now.etag, now.modified) != (seen.etag, seen.modified):
            return
        with explained(f"setting {key} aside", self.where, "s3:GetObject, s3:PutObject and s3:DeleteObject"):
            if now.size <= _COPY_BYTES:
                await self._client.copy_object(
                    Bucket=self.location.bucket, Key=aside, CopySource={"Bucket": self.location.bucket, "Key": key}
                )
            await self._client.delete_object(Bucket=self.location.bucket, Key=key, IfMatch=now.etag)

    async def begin_parts(self, key: str) -> str:
        with explained(f"storing {key}", self.where, "s3:PutObject"):
            return (await self._client.create_multipart_upload(Bucket=self.location.bucket, Key=key))["UploadId"]

    async def put_part(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Returns the part's tag.

        :raises TransferGarbled: other bytes arrived; some servers then forget the whole upload.
        """
        md5 = await asyncio.to_thread(lambda: hashlib.md5(data, usedforsecurity=False).digest())
        with explained(f"storing part {number} of {key}", self.where, "s3:PutObject"):
            answer = await self._client.upload_part(
                Bucket=self.location.bucket,
                Key=key,
                UploadId=upload,
                PartNumber=number,
                Body=io.BytesIO(data),
                ContentMD5=base64.b64encode(md5).decode(),
            )
        return answer["ETag"]

    async def join_parts(self, key: str, upload: str, tags: dict[int, str]) -> None:
        with explained(f"storing {key}", self.where, "s3:PutObject"):
            await self._client.complete_multipart_upload(
                Bucket=self.location.bucket,
                Key=key,
                UploadId=upload,
                MultipartUpload={"Parts": [{"PartNumber": number, "ETag": tags[number]} for number in sorted(tags)]},
            )

    async def drop_parts(self, key: str, upload: str) -> None:
        with explained(f"dropping an upload of {key}", self.where, "s3:AbortMultipartUpload"):
            await self._client.abort_multipart_upload(Bucket=self.location.bucket, Key=key, UploadId=upload)

    @property
    def _client(self) -> "S3Client":
        if self._opened is None:
            raise StoreUnavailable(f"the artifact store {self.location} is not open; use it in `async with`")
        return self._opened


def _stored(answer: "HeadObjectOutputTypeDef | GetObjectOutputTypeDef") -> StoredObject:
    etag = answer["ETag"]
    plain = etag.strip('"')
    size = int(answer["ContentRange"].rpartition("/")[2]) if answer.get("ContentRange") else answer["ContentLength"]
    # An object encrypted with a key of KMS has another kind of tag; one of parts has a dash in it.
    is_md5 = (
        len(plain) == 32 and not answer.get("ServerSideEncryption", "").startswith("aws:kms") and not answer.get("SSECustomerAlgorithm")
    )
    sha256 = answer.get("ChecksumSHA256")
    return StoredObject(size, etag, answer["LastModified"], plain if is_md5 else None, _hexadecimal(sha256))


def _hexadecimal(checksum: str | None) -> str | None:
    """None also for the checksum of checksums that an object of parts has."""
    if checksum is None or "-" in checksum:
        return None
    return base64.b64decode(checksum).hex()
