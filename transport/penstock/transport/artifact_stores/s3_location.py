"""Where in S3 a store lives: `s3://bucket/prefix`, and the keys below it."""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from typing_extensions import override

from penstock.contracts.errors import InvalidInput

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*")


@dataclass(frozen=True, slots=True)
class S3Location:
    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """:raises InvalidInput: not `s3://bucket` or `s3://bucket/prefix`."""
        parts = urlsplit(url)
        prefix = parts.path.strip("/")
        if parts.scheme != "s3" or parts.query or parts.fragment or "@" in parts.netloc:
            raise InvalidInput(f"{_masked(url)!r} is no place in S3; one reads s3://bucket/prefix, and credentials stay in AWS_* variables")
        if not _BUCKET.fullmatch(parts.netloc):
            raise InvalidInput(f"{_masked(url)!r} names no bucket; a bucket has 3 to 63 characters: a-z, 0-9, dots and dashes")
        if prefix and (not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/"))):
            raise InvalidInput(f"the prefix of {url!r} can't be used; its parts are of letters, digits, and any of _ . = -")
        return cls(parts.netloc, prefix)

    def key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def blob(self, digest: str) -> str:
        """Of a checked digest."""
        return self.key(f"blobs/sha256/{digest[7:9]}/{digest[7:]}")

    @override
    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def _masked(url: str) -> str:
    """The text without what may be a password."""
    return re.sub(r"//[^/]*@", "//...@", url)
