"""An OpenID provider on loopback: discovery, keys, authorization code with PKCE, refresh, devices. A test has it break its rules."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from typing_extensions import override

CLIENT = "penstock-cli"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(slots=True)
class Key:
    """A key pair with its name."""

    name: str
    algorithm: str
    private: PrivateKey

    @classmethod
    def make(cls, name: str, algorithm: str = "RS256") -> "Key":
        if algorithm == "ES256":
            return cls(name, algorithm, ec.generate_private_key(ec.SECP256R1()))
        return cls(name, algorithm, rsa.generate_private_key(public_exponent=65537, key_size=2048))

    def public(self) -> dict[str, Any]:
        public = self.private.public_key()
        made = ECAlgorithm.to_jwk(public) if isinstance(public, ec.EllipticCurvePublicKey) else RSAAlgorithm.to_jwk(public)
        plain: dict[str, Any] = json.loads(made)
        return plain | {"kid": self.name, "use": "sig", "alg": self.algorithm}


@cache
def _first_key() -> Key:
    return Key.make("key-1")


@dataclass(slots=True)
class Provider:
    """Whoever comes to `authorize` is `user` of `groups`. Codes and refresh tokens are good for once."""

    url: str = ""
    keys: list[Key] = field(default_factory=lambda: [_first_key()])
    user: str = "alice"
    groups: tuple[str, ...] = ("team",)
    seconds: int = 300
    audience: str = CLIENT
    access_audience: str | None = None
    """Of access tokens; None: they are words without a meaning."""
    tampered_state: str | None = None
    has_refresh: bool = True
    pending: int = 0
    """So many questions of a device are answered by `not yet`."""
    is_denied: bool = False
    codes: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    refresh_tokens: set[str] = field(default_factory=set[str])
    devices: dict[str, int] = field(default_factory=dict[str, int])
    asked: list[str] = field(default_factory=list[str])
    nonce: str | None = None
    """In place of the one that was asked for."""

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": self.user,
            "aud": self.audience,
            "iat": now,
            "exp": now + self.seconds,
            "groups": list(self.groups),
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, key: Key | None = None, headers: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token that says who somebody is."""
        key = key or self.keys[0]
        return jwt.encode(self.claims(**changes), key.private, algorithm=key.algorithm, headers={"kid": key.name, **(headers or {})})

    def answer(self, method: str, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any] | str]:
        """Status, and what is answered; text is where a browser is sent."""
        self.asked.append(f"{method} {path}")
        match path:
            case "/.well-known/openid-configuration":
                names = ("authorization", "token", "device_authorization")
                return 200, {
                    "issuer": self.url,
                    "jwks_uri": f"{self.url}/keys",
                    **{f"{name}_endpoint": f"{self.url}/{name}" for name in names},
                }
            case "/keys":
                return 200, {"keys": [key.public() for key in self.keys]}
            case "/authorization":
                return 302, self._authorized(form)
            case "/token":
                return self._exchanged(form)
            case "/device_authorization":
                code = secrets.token_hex(8)
                self.devices[code] = self.pending
                return 200, {
                    "device_code": code,
                    "user_code": "ABCD-EFGH",
                    "verification_uri": f"{self.url}/device",
                    "interval": 1,
                    "expires_in": 60,
                }
            case _:
                return 404, {}

    def _authorized(self, form: dict[str, str]) -> str:
        assert form["code_challenge_method"] == "S256"
        assert "openid" in form["scope"].split()
        state = self.tampered_state or form["state"]
        if self.is_denied:
            return f"{form['redirect_uri']}?{urlencode({'error': 'access_denied', 'state': state})}"
        code = secrets.token_hex(8)
        self.codes[code] = form
        return f"{form['redirect_uri']}?{urlencode({'code': code, 'state': state})}"

    def _exchanged(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        refused = 400, {"error": "invalid_grant", "error_description": "not this one"}
        if form.get("client_id") != CLIENT:
            return 401, {"error": "invalid_client"}
        match form.get("grant_type"):
            case "authorization_code":
                begun = self.codes.pop(form.get("code", ""), None)
                digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
                challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
                if begun is None or begun["code_challenge"] != challenge or begun["redirect_uri"] != form.get("redirect_uri"):
                    return refused
                return 200, self._tokens(nonce=self.nonce or begun["nonce"])
            case "refresh_token":
                if form.get("refresh_token") not in self.refresh_tokens:
                    return refused
                self.refresh_tokens.remove(form["refresh_token"])
                return 200, self._tokens()
            case "urn:ietf:params:oauth:grant-type:device_code":
                return self._of_device(form.get("device_code", ""))
            case _:
                return 400, {"error": "unsupported_grant_type"}

    def _of_device(self, code: str) -> tuple[int, dict[str, Any]]:
        if code not in self.devices:
            return 400, {"error": "expired_token"}
        if self.is_denied:
            return 400, {"error": "access_denied"}
        if self.devices[code] > 0:
            self.devices[code] -= 1
            return 400, {"error": "slow_down" if self.devices[code] == 0 else "authorization_pending"}
        del self.devices[code]
        return 200, self._tokens()

    def _tokens(self, nonce: str | None = None) -> dict[str, Any]:
        access = self.token(aud=self.access_audience) if self.access_audience else secrets.token_hex(16)
        tokens: dict[str, Any] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self.seconds,
            "id_token": self.token(nonce=nonce),
        }
        if self.has_refresh:
            tokens["refresh_token"] = secrets.token_hex(16)
            self.refresh_tokens.add(tokens["refresh_token"])
        return tokens


@contextmanager
def oidc_provider() -> Generator[Provider]:
    """A provider that serves while the block lasts."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._send(*provider.answer("GET", parts.path, _single(parts.query)))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._send(*provider.answer("POST", self.path, _single(body)))

        def _send(self, status: int, answer: dict[str, Any] | str) -> None:
            body = b"" if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            if isinstance(answer, str):
                self.send_header("Location", answer)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    serving.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        serving.join(5)


def _single(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}
