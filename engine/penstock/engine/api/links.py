"""Links to one artifact each: whoever has one may read that artifact for a while, without a token. So a browser can show a plot, and a
system without Penstock fetch a model. A link is signed; what it is good for can't be changed."""

import base64
import binascii
import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.types import Scope

from penstock.contracts.encoding import canonical

LONGEST_SECONDS = 3600
QUERY = "link"
_PATH = re.compile(r"/v1/artifacts/(sha256:[0-9a-f]{64})")
_SHOWN_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Link:
    """`ends_at`: microseconds since 1970 UTC."""

    workspace: str
    digest: str
    ends_at: int


def signed(link: Link, key: bytes) -> str:
    """The link as text of an address."""
    body = canonical([link.workspace, link.ends_at])
    return f"{_text(body)}.{_text(_signature(link.digest, body, key))}"


def opened(shown: str, digest: str, key: bytes, now: int) -> Link | None:
    """What that text is good for; None: it is no link to that artifact, or not any more."""
    body, _, signature = shown[:_SHOWN_CHARACTERS].partition(".")
    try:
        plain = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        given = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    except (ValueError, binascii.Error):
        return None
    if not hmac.compare_digest(given, _signature(digest, plain, key)):
        return None
    workspace, ends_at = json.loads(plain)
    return Link(workspace, digest, ends_at) if now < ends_at else None


def asked_for(scope: Scope) -> tuple[str, str] | None:
    """The digest and the text of a link, where a request reads an artifact by one."""
    path = _PATH.fullmatch(scope["path"])
    if path is None or scope["method"] != "GET":
        return None
    found = parse_qs(scope.get("query_string", b"").decode("latin-1")).get(QUERY)
    return (path[1], found[0]) if found else None


def _signature(digest: str, body: bytes, key: bytes) -> bytes:
    # Other things are signed with the same key: the first word keeps them apart.
    return hmac.new(key, b"artifact link|" + digest.encode() + b"|" + body, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
