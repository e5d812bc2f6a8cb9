"""An OpenID provider as a client sees it: its endpoints, and tokens for a code, a device or a refresh token. A public client: no secret."""

import base64
import json
import time
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from penstock.contracts.errors import EngineUnavailable, InvalidInput

SECONDS = 10.0
_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """As what this command is known to the provider."""

    issuer: str
    client_id: str
    audience: str
    scopes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """`bearer` is what the API is shown, until `expires_at` (seconds since 1970)."""

    bearer: str
    expires_at: float
    refresh_token: str | None
    id_token: str | None


class Refused(InvalidInput):
    """The provider says no; `code` is its word for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class IdentityProvider:
    """Of one issuer, whose document is read once."""

    def __init__(self, client: Client, http: httpx.Client | None = None) -> None:
        self.client = client
        self._http = http or httpx.Client(timeout=SECONDS, follow_redirects=False)
        self._document: dict[str, Any] | None = None

    def close(self) -> None:
        self._http.close()

    def endpoint(self, name: str) -> str:
        """The address of an endpoint.

        :raises InvalidInput: the provider has none, or it is not safe to use.
        """
        if self._document is None:
            self._document = self._read_document()
        address = self._document.get(f"{name}_endpoint")
        if not isinstance(address, str):
            raise InvalidInput(f"{self.client.issuer} has no {name.replace('_', ' ')} endpoint; log in another way")
        return safe_address(address)

    def tokens(self, grant: dict[str, str]) -> Tokens:
        """What a grant is exchanged for.

        :raises Refused: the provider says no.
        :raises EngineUnavailable: it can't be reached.
        """
        answer = self.post("token", grant)
        bearer = _bearer(answer, self.client)
        seconds = answer.get("expires_in")
        refresh = answer.get("refresh_token")
        id_token = answer.get("id_token")
        return Tokens(
            bearer=bearer,
            expires_at=time.time() + (float(seconds) if isinstance(seconds, int | float) else 300.0),
            refresh_token=refresh if isinstance(refresh, str) else None,
            id_token=id_token if isinstance(id_token, str) else None,
        )

    def post(self, name: str, form: dict[str, str]) -> dict[str, Any]:
        """What an endpoint answers to a form."""
        address = self.endpoint(name)
        try:
            answer = self._http.post(address, data={"client_id": self.client.client_id, **form}, headers={"Accept": "application/json"})
        except httpx.HTTPError as error:
            raise self._away(error) from error
        plain = _object(answer)
        if not answer.is_success:
            code = str(plain.get("error", answer.status_code))
            told = str(plain.get("error_description", ""))[:200]
            raise Refused(code, f"{self.client.issuer} refuses: {code}{f' ({told})' if told else ''}; log in again with `penstock login`")
        return plain

    def _read_document(self) -> dict[str, Any]:
        issuer = safe_address(self.client.issuer)
        try:
            answer = self._http.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        except httpx.HTTPError as error:
            raise self._away(error) from error
        document = _object(answer)
        if not answer.is_success or document.get("issuer") != issuer:
            raise InvalidInput(
                f"what answers at {issuer} does not say that it is this issuer; is PENSTOCK_OIDC_ISSUER right, to the letter?"
            )
        return document

    def _away(self, error: httpx.HTTPError) -> EngineUnavailable:
        return EngineUnavailable(f"the identity provider {self.client.issuer} can't be reached ({type(error).__name__})")


def safe_address(address: str) -> str:
    """`address`, if what is sent there can't be read on the way.

    :raises InvalidInput: it can.
    """
    parts = urlsplit(address)
    is_near = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or parts.username or not (parts.scheme == "https" or (parts.scheme == "http" and is_near)):
        raise InvalidInput(f"{address[:200]!r} is no https address; an identity provider has to have one")
    return address


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unchecked: the API checks it, and the provider gave it to us over a connection of ours."""
    parts = token.split(".")
    try:
        found: object = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) if len(parts) == 3 else {}
    except ValueError:
        found = {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _bearer(answer: dict[str, Any], client: Client) -> str:
    """The access token where it is made for the API, else the token that says who somebody is.

    :raises InvalidInput: neither is.
    """
    for name in ("access_token", "id_token"):
        token = answer.get(name)
        if not isinstance(token, str):
            continue
        match claims_of(token).get("aud"):
            case str(audience) if audience == client.audience:
                return token
            case [*audiences] if client.audience in audiences:
                return token
            case _:
                continue
    raise InvalidInput(f"{client.issuer} gives no token for the audience {client.audience!r}; is PENSTOCK_OIDC_AUDIENCE right?")


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        plain: object = answer.json() if len(answer.content) <= _LIMIT else None
    except ValueError:
        plain = None
    return cast("dict[str, Any]", plain) if isinstance(plain, dict) else {}
