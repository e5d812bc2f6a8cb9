"""A datastore on a web server: `https://data.example.org/open`. Marks are what the server says of the content; nothing is listed.

Redirections are not followed: they would lead to wherever the server likes.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cached_property

import httpx

from penstock.contracts.errors import DataChanged, DatastoreUnavailable, InvalidInput
from penstock.transport.datastore import FoundObject
from penstock.transport.datastores.place import PIECE_BYTES, Declaration

_DIGITS = 19
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)


class WebPlace:
    def __init__(self, declaration: Declaration) -> None:
        self._declaration = declaration

    def objects(self, base: str, prefix: str, depth: int | None) -> Iterator[FoundObject]:
        raise InvalidInput(f"{base}: a web server lists nothing; name one file, without wildcards and no folder")

    def look(self, uri: str) -> FoundObject | None:
        with _explained(uri), self._client.stream("GET", uri) as response:
            # Not every server answers HEAD; of this one only the beginning is read.
            return None if response.status_code in (404, 410) else _found(uri, response)

    def pieces(self, found: FoundObject) -> Iterator[bytes]:
        changed = f"{found.uri} is not what it was when it was found; nothing of it was taken"
        with _explained(found.uri), self._client.stream("GET", found.uri) as response:
            if response.status_code in (404, 410) or _found(found.uri, response).mark != found.mark:
                raise DataChanged(changed)
            yield from response.iter_raw(PIECE_BYTES)

    @cached_property
    def _client(self) -> httpx.Client:
        # Bytes as they are kept, not as they might be packed for the way.
        headers = {"Accept-Encoding": "identity"}
        if self._declaration.credentials is not None:
            headers["Authorization"] = f"Bearer {self._declaration.credentials().strip()}"
        return httpx.Client(headers=headers, timeout=_TIMEOUT, follow_redirects=False)


def _found(uri: str, response: httpx.Response) -> FoundObject:
    if response.is_redirect:
        raise InvalidInput(f"{uri} is a redirection, which is not followed; name the address that it leads to")
    if response.status_code != 200:
        raise DatastoreUnavailable(f"{uri} is answered with {response.status_code} {response.reason_phrase}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise InvalidInput(f"{uri} comes packed by the server ({response.headers['content-encoding'][:40]}), though it was asked not to")
    modified, size = response.headers.get("last-modified", ""), response.headers.get("content-length", "")
    mark = response.headers.get("etag") or (f"{modified} {size}" if modified else "")
    if not mark:
        raise InvalidInput(f"{uri}: the server tells neither ETag nor Last-Modified, so nobody could say whether it changed")
    return FoundObject(
        uri=uri,
        mark=mark.strip('"')[:255],
        size=int(size) if size.isascii() and size.isdecimal() and len(size) < _DIGITS else 0,
        changed_at=_microseconds(modified),
    )


def _microseconds(modified: str) -> int:
    try:
        return int(parsedate_to_datetime(modified).timestamp() * 1_000_000)
    except (ValueError, OverflowError, TypeError):
        return 0


@contextmanager
def _explained(uri: str) -> Generator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DatastoreUnavailable(f"{uri} can't be read: no answer that is of use ({type(error).__name__}); is the server up?") from error
