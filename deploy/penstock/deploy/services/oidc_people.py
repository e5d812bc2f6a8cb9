"""People as an OpenID provider tells of them: its tokens are checked against its keys, which are fetched when they are needed.

Two algorithms, both of key pairs: with any other, `none` among them, whoever knows the public key could say who they are.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import jwt
import structlog
from typing_extensions import override

from penstock.contracts.errors import StoreUnavailable
from penstock.engine.api.authentication import People, Person

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.api")

KEY_TYPES = {"RS256": "RSA", "ES256": "EC"}
"""What a key has to be, by algorithm."""
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""Other tokens of a provider (of a logout, say) say nothing of who asks."""
FRESH_SECONDS = 300.0
"""So long keys are used without another look: a key that a provider takes back is refused after that."""
STALE_SECONDS = 3600.0
"""So long they are used where the provider is away."""
AGAIN_SECONDS = 10.0
"""Between two looks for a key that nobody knows: strangers name such keys as often as they like."""
LEEWAY_SECONDS = 30.0
_FETCH_SECONDS = 5.0
_LIMIT = 1024 * 1024
_GROUPS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Whose tokens are taken, and what is read in them."""

    issuer: str
    audience: str
    subject_claim: str = "sub"
    groups_claim: str = "groups"


class OidcPeople(People):
    """`http` is closed by whoever opened it, and follows no redirects."""

    def __init__(self, issuer: Issuer, http: httpx.AsyncClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._http = http
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._turn = asyncio.Lock()

    @override
    async def person(self, token: str) -> Person | None:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            return None
        algorithm, name, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if not (isinstance(algorithm, str) and isinstance(name, str) and isinstance(kind, str)):
            return None
        if algorithm not in KEY_TYPES or kind.lower() not in _TYPES:
            return None
        key = await self._key(name)
        if key is None or key.key_type != KEY_TYPES[algorithm]:
            return None
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=self._issuer.audience,
                issuer=self._issuer.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            log.info("login.refused", reason=type(error).__name__)
            return None
        return self._person(claims)

    def _person(self, claims: dict[str, Any]) -> Person | None:
        subject = claims.get(self._issuer.subject_claim)
        if not isinstance(subject, str) or not subject:
            return None
        # An address that nobody has shown to be theirs is anybody's.
        if self._issuer.subject_claim == "email" and claims.get("email_verified") is not True:
            return None
        told = claims.get(self._issuer.groups_claim, [])
        groups = [group for group in cast("list[object]", told) if isinstance(group, str)] if isinstance(told, list) else []
        return Person(subject=subject, groups=tuple(sorted(groups)[:_GROUPS]))

    async def _key(self, name: str) -> jwt.PyJWK | None:
        """:raises StoreUnavailable: nobody knows the provider's keys at the moment."""
        if self._age() >= FRESH_SECONDS or (name not in self._keys and self._clock() - self._tried_at >= AGAIN_SECONDS):
            async with self._turn:
                await self._look(name)
        if self._age() >= STALE_SECONDS:
            raise StoreUnavailable(f"the identity provider {self._issuer.issuer} can't be reached, and its keys are not known")
        return self._keys.get(name)

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    async def _look(self, name: str) -> None:
        is_known = name in self._keys and self._age() < FRESH_SECONDS
        if is_known or (self._clock() - self._tried_at < AGAIN_SECONDS and self._age() < STALE_SECONDS):
            return  # Somebody else has looked while this one waited.
        self._tried_at = self._clock()
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                self._keys = await self._fetch()
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            log.warning("keys.not_fetched", issuer=self._issuer.issuer, reason=str(error) or type(error).__name__)
            return
        self._fetched_at = self._clock()

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        document = await self._get(f"{self._issuer.issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != self._issuer.issuer:
            raise ValueError(f"its document is of {str(document.get('issuer'))[:200]!r}")
        address = document.get("jwks_uri")
        if not isinstance(address, str) or not _is_safe(address):
            raise ValueError("its document names no https address of keys")
        found: dict[str, jwt.PyJWK] = {}
        for plain in (await self._get(address)).get("keys", []):
            key = _usable(plain)
            if key is not None and key.key_id is not None:
                found[key.key_id] = key
        return found

    async def _get(self, address: str) -> dict[str, Any]:
        answer = await self._http.get(address, headers={"Accept": "application/json"})
        if answer.status_code != HTTPStatus.OK or len(answer.content) > _LIMIT:
            raise ValueError(f"{address} was answered by {answer.status_code} and {len(answer.content)} bytes")
        plain: object = answer.json()
        if not isinstance(plain, dict):
            raise ValueError(f"{address} holds no object")  # noqa: TRY004 - it is data, not a mistake of ours
        return cast("dict[str, Any]", plain)


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))


def _usable(plain: object) -> jwt.PyJWK | None:
    """A key pair's public half that is for signatures; None for anything else that a provider lists."""
    if not isinstance(plain, dict):
        return None
    fields = cast("dict[str, Any]", plain)
    if fields.get("kty") not in KEY_TYPES.values() or fields.get("use", "sig") != "sig":
        return None
    try:
        return jwt.PyJWK(fields)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
