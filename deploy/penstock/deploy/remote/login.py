"""Logging in: by a browser of this machine, which comes back to an address of this process, or by another device."""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from typing_extensions import override

from penstock.contracts.errors import InvalidInput
from penstock.deploy.remote.identity_provider import IdentityProvider, Refused, Tokens, claims_of

LOGIN_SECONDS = 300.0
_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_PAGE = "<!doctype html><meta charset=utf-8><title>Penstock</title><p>{}</p>"
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What only this process knows of a login, and what it shows of it."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> "Attempt":
        return cls(state=secrets.token_urlsafe(32), nonce=secrets.token_urlsafe(32), verifier=secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()


def login_by_browser(provider: IdentityProvider, show: Callable[[str], object], seconds: float = LOGIN_SECONDS) -> Tokens:
    """Authorization code with PKCE. `show` takes the address to a browser; the code comes back to a loopback address.

    :raises InvalidInput: it was refused, took too long, or something came back that nobody here asked for.
    """
    attempt = Attempt.new()
    with _Callback(attempt.state) as callback:
        wanted = {
            "response_type": "code",
            "client_id": provider.client.client_id,
            "redirect_uri": callback.address,
            "scope": provider.client.scopes,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        address = provider.endpoint("authorization")
        show(f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(wanted)}")
        code = callback.code(seconds)
        tokens = provider.tokens(
            {"grant_type": "authorization_code", "code": code, "redirect_uri": callback.address, "code_verifier": attempt.verifier}
        )
    said = claims_of(tokens.id_token or "").get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), attempt.nonce.encode()):
        raise InvalidInput("the identity provider answered another login than this one; log in again")
    return tokens


def login_by_device(
    provider: IdentityProvider, tell: Callable[[str, str], object], pause: Callable[[float], object] = time.sleep
) -> Tokens:
    """`tell` shows an address and a code, which are for a browser on another machine; `pause` waits between two questions.

    :raises InvalidInput: it was refused, or took too long.
    """
    begun = provider.post("device_authorization", {"scope": provider.client.scopes})
    code, shown, address = (begun.get(name) for name in ("device_code", "user_code", "verification_uri"))
    if not (isinstance(code, str) and isinstance(shown, str) and isinstance(address, str)):
        raise InvalidInput("the identity provider's answer to a device can't be used; log in by a browser")
    tell(address, shown)
    interval = _seconds(begun.get("interval"), 5.0)
    deadline = time.monotonic() + min(_seconds(begun.get("expires_in"), 600.0), 1800.0)
    while time.monotonic() < deadline:
        pause(min(interval, _LONGEST_PAUSE))
        try:
            return provider.tokens({"grant_type": _DEVICE, "device_code": code})
        except Refused as error:
            if error.code not in ("authorization_pending", "slow_down"):
                raise
            interval += 5.0 if error.code == "slow_down" else 0.0
    raise InvalidInput("nobody has entered the code in time; log in again")


def _seconds(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) and value >= 0 else otherwise


class _Callback:
    """The address that the browser comes back to: of this machine, of this login, once."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._found: dict[str, str] | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                text = outer._take(self.path)
                body = _PAGE.format(text or "This is not the address of a login.").encode()
                self.send_response(200 if text else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)

            @override
            def log_message(self, format: str, *args: Any) -> None:
                """The code is in the address."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> "_Callback":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/callback"

    def code(self, seconds: float) -> str:
        """:raises InvalidInput: nothing came in time, or a refusal."""
        deadline = time.monotonic() + seconds
        while self._found is None and (left := deadline - time.monotonic()) > 0:
            self._server.timeout = left
            self._server.handle_request()
        if self._found is None:
            raise InvalidInput("nobody has logged in in time; try again, or with --device")
        if "code" not in self._found:
            raise InvalidInput(f"the identity provider refuses: {self._found.get('error', 'no code')[:100]}")
        return self._found["code"]

    def _take(self, path: str) -> str:
        """What the browser shows; empty: it is nothing of this login, which goes on."""
        parts = urlsplit(path)
        given = {name: values[0] for name, values in parse_qs(parts.query).items() if len(values) == 1}
        if parts.path != "/callback" or not hmac.compare_digest(given.get("state", "").encode(), self._state.encode()):
            return ""
        self._found = given
        return "You are logged in; this page may be closed." if "code" in given else "The login was refused."
