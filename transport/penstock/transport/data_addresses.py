"""URIs of objects: which can be used, what their wildcards fit. They are taken as they are written; nothing is decoded.

`*` and `?` stay within one part of a path, `**` stands for any number of parts.
"""

import ipaddress
import re
from collections import defaultdict
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from penstock.contracts.errors import InvalidInput

SCHEMES = ("s3", "file", "https", "http")
_LONGEST = 1024
_WILD = re.compile(r"(\*\*/|\*\*|\*|\?)")
_FEW = 2
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Search(NamedTuple):
    """Where to look for what a URI with wildcards fits: below `base`, for paths that begin with `prefix`, at most `depth` levels down."""

    base: str
    prefix: str
    depth: int | None


def has_wildcards(uri: str) -> bool:
    return "*" in uri or "?" in uri


def checked(uri: str) -> str:
    """The URI, if it is one that can be used.

    :raises InvalidInput: another scheme, no host or path, parts such as `..`, credentials inside; the text shows no password.
    """
    scheme, colon, rest = uri.partition("://")
    if not colon or scheme not in SCHEMES:
        raise InvalidInput(f"{masked(uri)!r} is no address of data; one reads s3://bucket/key, https://host/path or file:///path")
    host, _, path = rest.partition("/")
    if "@" in host or (scheme in ("https", "http") and ("?" in path or "#" in path)):
        raise InvalidInput(f"{masked(uri)!r} holds credentials, a query or a fragment; they have no place in an address of data")
    if bool(host) == (scheme == "file") or _CONTROL.search(uri) or len(uri.encode()) > _LONGEST or "#" in host or "?" in host:
        raise InvalidInput(f"{masked(uri)!r} can't be used as an address of data: its host is missing, or it is too long or not plain text")
    if (wrong := _wrong_path(path, scheme)) is not None:
        raise InvalidInput(f"{masked(uri)!r} can't be used as an address of data: {wrong}")
    return uri


def _wrong_path(path: str, scheme: str) -> str | None:
    parts = path.removesuffix("/").split("/") if path.strip("/") else []
    if "versionId=" in path:
        return "it names a version; name the object"
    spelled = [unquote(part) for part in parts] if scheme in ("https", "http") else parts
    # Some servers take what is behind a semicolon for no part of the name.
    if any(part.partition(";")[0] in ("", ".", "..") for part in spelled):
        return "it has an empty part, `.` or `..`"
    if any("\\" in part or (part != plain and "/" in part) for part, plain in zip(spelled, parts, strict=True)):
        return "it has a backslash or a hidden slash"
    return None


def is_usable(uri: str) -> bool:
    """Whether an object that was found can be named."""
    try:
        checked(uri)
    except InvalidInput:
        return False
    return True


def is_below(uri: str, root: str) -> bool:
    """Whether the URI is that of the root, or of something in it."""
    bare = root.rstrip("/")
    return uri.rstrip("/") == bare or uri.startswith(f"{bare}/")


def refuse_link_local(url: str, what: str) -> None:
    """:raises InvalidInput: the host is an address under which clouds keep machines' own credentials."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise InvalidInput(f"{what} is at {host}, which is no server of data; name another one")


def search_of(uri: str) -> Search:
    """Where what the URI fits can be; of a prefix (it ends in `/`) all below it."""
    if not has_wildcards(uri):
        return Search(uri.rstrip("/"), "", None)
    scheme, _, rest = uri.partition("://")
    fixed: list[str] = []
    parts = rest.split("/")
    while parts and not has_wildcards(parts[0]):
        fixed.append(parts.pop(0))
    if not fixed:
        raise InvalidInput(f"{uri!r} has wildcards where its bucket or host should be")
    prefix = re.split(r"[*?]", parts[0], maxsplit=1)[0]
    return Search(f"{scheme}://{'/'.join(fixed)}", prefix, None if "**" in parts else len(parts))


def fits(pattern: str, uri: str) -> bool:
    """Whether an object's URI is one of those that `pattern` names."""
    if pattern.endswith("/") and not has_wildcards(pattern):
        return uri.startswith(pattern)
    if len(_WILD.findall(pattern)) <= _FEW:
        return _expression(pattern).fullmatch(uri) is not None
    return _steps(pattern).fit(uri)


@lru_cache(maxsize=256)
def _expression(pattern: str) -> re.Pattern[str]:
    """As quick as can be, where wildcards are few; each one more may make it as many times slower as the URI has characters."""
    spelled = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(spelled.get(token) or re.escape(token) for token in _WILD.split(pattern)))


@lru_cache(maxsize=256)
def _steps(pattern: str) -> "_Steps":
    return _Steps(pattern)


class _Steps:
    """The same in time that grows with the URI alone: all ways at once, as bits of a number, one for each place in the pattern."""

    def __init__(self, pattern: str) -> None:
        self._letters: dict[str, int] = defaultdict(int)
        self._one = self._star = self._stars = self._folders = self._inside = 0
        place = 1
        for token in _WILD.split(pattern):
            match token:
                case "**/":
                    self._folders |= place
                    self._inside |= place << 1
                    place <<= 2
                case "**":
                    self._stars |= place
                    place <<= 1
                case "*":
                    self._star |= place
                    place <<= 1
                case "?":
                    self._one |= place
                    place <<= 1
                case letters:
                    for letter in letters:
                        self._letters[letter] |= place
                        place <<= 1
        self._end = place

    def fit(self, uri: str) -> bool:
        places = self._further(1)
        for letter in uri:
            is_slash = letter == "/"
            on = places & (self._letters.get(letter, 0) | (self._inside if is_slash else self._one))
            kept = places & (self._stars | self._inside | (0 if is_slash else self._star))
            places = self._further(on << 1 | kept)
            if not places:
                return False
        return bool(places & self._end)

    def _further(self, places: int) -> int:
        """With those behind what may stand for nothing."""
        while True:
            found = places | (places & (self._star | self._stars | self._folders)) << 1 | (places & self._folders) << 2
            if found == places:
                return places
            places = found


def suffix_of(uri: str) -> str:
    """As a reader of the artifact sees it: `.csv`."""
    name = uri.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix}" if dot and stem and suffix else ""


def masked(uri: str) -> str:
    """The URI without what may be a password."""
    return re.sub(r"//[^/]*@", "//...@", uri)[:200]
