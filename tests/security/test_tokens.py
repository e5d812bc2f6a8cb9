"""Tokens and logins that somebody made up, stole half of, or wrote for others: each is answered by 401, and the next good one by 200."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from tests.engine.api.people import new_token
from tests.engine.api.serving import TOKEN, Api, api
from tests.security.logins import with_login
from tests.servers.oidc import CLIENT, Key, Provider, oidc_provider

NOW = int(time.time())
Change = Callable[[str], str]

FORGED: dict[str, Change] = {
    "cut": lambda token: token[:-1],
    "cut to its id": lambda token: token[:16],
    "longer": lambda token: token + "0",
    "twice": lambda token: token + token,
    "another secret": lambda token: token[:20] + ("A" if token[20] != "A" else "B") + token[21:],
    "another id": lambda token: token[:4] + ("A" if token[4] != "A" else "B") + token[5:],
    "another checksum": lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
    "upper case": str.upper,
    "lower case": str.lower,
    "other prefix": lambda token: "ghp_" + token[4:],
    "prefix in capitals": lambda token: "PST_" + token[4:],
    "no prefix": lambda token: token[4:],
    "only the prefix": lambda _: "pst_",
    "joker": lambda token: token[:17] + "%",
    "sql": lambda _: "pst_' OR '1'='1",
    "colon": lambda token: f"bootstrap:{token}",
    "comma": lambda token: f"{token}, {token}",
    "quoted": lambda token: f'"{token}"',
    "base64": lambda token: base64.b64encode(token.encode()).decode(),
    "nul": lambda token: token + "\x00",
    "inner space": lambda token: token[:10] + " " + token[10:],
    "full width": lambda token: "".join(chr(ord(one) + 0xFEE0) if one.isalnum() else one for one in token),
    "huge": lambda token: token + "A" * 1_000_000,
    "as a login": lambda token: f"{token}.{token}.{token}",
    "zeros": lambda token: "pst_" + "0" * (len(token) - 4),
    "cut bootstrap": lambda _: TOKEN[:-1],
    "longer bootstrap": lambda _: TOKEN + "\t.",
}
ELSEWHERE: dict[str, Callable[[str], dict[str, Any]]] = {
    "in the query": lambda token: {"params": {"token": token, "access_token": token, "api_key": token}},
    "in a cookie": lambda token: {"headers": {"Cookie": f"token={token}; Authorization=Bearer {token}"}},
    "as basic": lambda token: {"headers": {"Authorization": "Basic " + base64.b64encode(f":{token}".encode()).decode()}},
    "as another scheme": lambda token: {"headers": {"Authorization": f"Token {token}"}},
    "without a scheme": lambda token: {"headers": {"Authorization": token}},
    "in another header": lambda token: {"headers": {"X-Api-Key": token, "Proxy-Authorization": f"Bearer {token}"}},
    "behind a wrong one": lambda token: {"headers": [("Authorization", "Bearer x" * 3), ("Authorization", f"Bearer {token}")]},
}


async def answered(served: Api, authorization: str) -> httpx.Response:
    return await served.bare.get("/v1/runs", headers=[(b"Authorization", authorization.encode())])


async def refused(served: Api, answer: httpx.Response) -> None:
    """It says nothing but that, and the next one is served."""
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), answer.text
    assert TOKEN not in answer.text
    assert (await served.http.get("/v1/runs")).status_code == 200


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
async def test_a_token_that_is_nobodys_opens_nothing(change: Change) -> None:
    async with api() as served:
        token = (await new_token(served, "ci", "admin"))["token"]
        await refused(served, await answered(served, f"Bearer {change(token)}"))
        assert (await answered(served, f"Bearer {token}")).status_code == 200


@pytest.mark.parametrize("place", ELSEWHERE.values(), ids=ELSEWHERE)
async def test_a_token_in_another_place_opens_nothing(place: Callable[[str], dict[str, Any]]) -> None:
    async with api() as served:
        await refused(served, await served.bare.get("/v1/runs", **place(TOKEN)))


async def test_what_is_kept_of_a_token_is_none() -> None:
    async with api() as served:
        made = await new_token(served, "ci", "admin")
        rows = await served.store.read(lambda connection: connection.exec_driver_sql("SELECT * FROM api_token").fetchall())

        assert made["token"] not in str(rows)
        for kept in (str(part) for row in rows for part in row):
            await refused(served, await answered(served, f"Bearer {kept or 'x'}"))


# Logins


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with oidc_provider() as made:
        yield made


@pytest.fixture(scope="module")
def attacker() -> Key:
    return Key.make("key-1")


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(header: Any, claims: Any, signature: bytes = b"") -> str:
    return f"{part(header)}.{part(claims)}.{part(signature)}"


def with_header(provider: Provider, header: Any) -> str:
    """A good login under another header."""
    return ".".join([part(header), *provider.token().split(".")[1:]])


def with_public_key(provider: Provider, encoding: serialization.Encoding) -> str:
    """Signed with what everybody knows, as if it were a secret."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    known = provider.keys[0].private.public_key().public_bytes(encoding, form)
    signed = f"{part({'alg': 'HS256', 'kid': 'key-1'})}.{part(provider.claims())}"
    return f"{signed}.{part(hmac.digest(known, signed.encode(), 'sha256'))}"


GOOD = {"alg": "RS256", "kid": "key-1", "typ": "JWT"}
HEADERS: dict[str, Any] = {
    "none": {**GOOD, "alg": "none"},
    "None": {**GOOD, "alg": "nOnE"},
    "hs256": {**GOOD, "alg": "HS256"},
    "ps256": {**GOOD, "alg": "PS256"},
    "rs512": {**GOOD, "alg": "RS512"},
    "es256": {**GOOD, "alg": "ES256"},
    "eddsa": {**GOOD, "alg": "EdDSA"},
    "list": {**GOOD, "alg": ["RS256"]},
    "map": {**GOOD, "alg": {"RS256": 1}},
    "null": {**GOOD, "alg": None},
    "number": {**GOOD, "alg": 1},
    "no key": {"alg": "RS256"},
    "key of a path": {**GOOD, "kid": "../../../../dev/null"},
    "key of sql": {**GOOD, "kid": "x' UNION SELECT 'key"},
    "key of a list": {**GOOD, "kid": ["key-1"]},
    "key of a map": {**GOOD, "kid": {}},
    "key with nul": {**GOOD, "kid": "key-1\x00"},
    "key that is huge": {**GOOD, "kid": "k" * 10_000},
    "surrogate": b'{"alg": "RS256", "kid": "\\ud800"}',
    "of a logout": {**GOOD, "typ": "logout+jwt"},
    "type of a list": {**GOOD, "typ": ["JWT"]},
    "critical": {**GOOD, "crit": ["exp"]},
    "detached": {**GOOD, "b64": False, "crit": ["b64"]},
    "text": "RS256",
    "list instead": [GOOD],
    "deep": b'{"alg":"RS256","kid":"key-1","x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "deep only": b"[" * 9000,
    "huge number": b'{"alg":"RS256","kid":' + b"9" * 9000 + b"}",
    "bytes": b"\xff\xfe\x00",
    "two algorithms": b'{"alg":"none","alg":"RS256","kid":"key-2"}',
}
CLAIMS: dict[str, dict[str, Any]] = {
    "over": {"exp": NOW - 3600},
    "without end": {"exp": None},
    "for ever": {"exp": "2999-01-01"},
    "not a number": {"exp": float("nan")},
    "infinite": {"exp": float("inf")},
    "not yet": {"nbf": NOW + 3600},
    "of the future": {"iat": NOW + 3600},
    "for others": {"aud": "another-client"},
    "for nobody": {"aud": None},
    "for some": {"aud": [f"{CLIENT}x", "x"]},
    "for a prefix": {"aud": CLIENT[:-1]},
    "by others": {"iss": "https://evil.example.org"},
    "by nobody": {"iss": None},
    "of nobody": {"sub": None},
    "of nothing": {"sub": ""},
    "of a number": {"sub": 0},
    "of the bootstrap": {"sub": "bootstrap"},
    "of local": {"sub": "local"},
    "of a token": {"sub": "token:ci"},
    "of a group": {"sub": "group:admins"},
    "with a nul": {"sub": "alice\x00"},
    "with a line": {"sub": "alice\nadmin"},
    "from right to left": {"sub": "alice\N{RIGHT-TO-LEFT OVERRIDE}"},
    "with a surrogate": {"sub": "alice\ud800"},
    "with much": {"sub": "a" * 256},
}
MADE_UP: dict[str, Callable[[Provider, Key], str]] = {
    "signed by another": lambda provider, attacker: provider.token(attacker),
    "key in the header": lambda provider, attacker: provider.token(attacker, {"jwk": attacker.public()}),
    "address of keys": lambda provider, attacker: provider.token(attacker, {"jku": "http://evil.example.org/keys", "kid": "other"}),
    "certificates": lambda provider, attacker: provider.token(attacker, {"x5u": "http://169.254.169.254/", "x5c": ["MIIB"], "kid": "o"}),
    "public key as a secret": lambda provider, _: with_public_key(provider, serialization.Encoding.PEM),
    "public key as bytes": lambda provider, _: with_public_key(provider, serialization.Encoding.DER),
    "unsigned": lambda provider, _: raw({"alg": "none"}, provider.claims()),
    "signature left out": lambda provider, _: provider.token().rpartition(".")[0] + ".",
    "signature of zeros": lambda provider, _: raw({"alg": "ES256", "kid": "key-1"}, provider.claims(), b"\x00" * 64),
    "other claims": lambda provider, _: ".".join(
        (lambda parts: [parts[0], part(provider.claims(sub="root")), parts[2]])(provider.token().split("."))
    ),
    "nested": lambda provider, attacker: jwt.encode(
        {"jwt": provider.token()}, attacker.private, algorithm="RS256", headers={"cty": "JWT", "kid": "key-1"}
    ),
    "five parts": lambda provider, _: provider.token() + ".x.y",
    "two dots": lambda _provider, _attacker: "..",
    "no base64": lambda _provider, _attacker: "a!.b!.c!",
    "huge": lambda provider, _: provider.token(pad="x" * 100_000),
    "json": lambda provider, _: json.dumps({"payload": part(provider.claims()), "signatures": []}) + "..",
    "access token": lambda _provider, _attacker: "0123456789abcdef0123456789abcdef",
}


async def is_no_login(provider: Provider, token: str) -> None:
    async with with_login(provider) as door:
        answer = await door.asked(token, "GET", "/me")
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), answer.text
        assert (await door.asked(provider.token(), "GET", "/me")).json()["name"] == "alice"


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
async def test_a_login_under_another_header_is_none(provider: Provider, header: Any) -> None:
    await is_no_login(provider, with_header(provider, header))


@pytest.mark.parametrize("claims", CLAIMS.values(), ids=CLAIMS)
async def test_a_login_that_claims_something_else_is_none(provider: Provider, claims: dict[str, Any]) -> None:
    await is_no_login(provider, provider.token(**claims))


@pytest.mark.parametrize("make", MADE_UP.values(), ids=MADE_UP)
async def test_a_login_that_the_provider_did_not_write_is_none(
    provider: Provider, attacker: Key, make: Callable[[Provider, Key], str]
) -> None:
    asked = len(provider.asked)
    await is_no_login(provider, make(provider, attacker))
    # Nobody is asked but for the provider's own document and keys.
    assert set(provider.asked[asked:]) <= {"GET /.well-known/openid-configuration", "GET /keys"}


GROUPS: dict[str, Any] = {
    "nul": ["a\x00group:admins"],
    "surrogate": ["\ud800"],
    "line": ["a\nb"],
    "others": [{}, 1, None],
    "text": "admins",
    "map": {"admins": 1},
    "long": ["x" * 10_000],
    "prefixed": ["group:admins"],
}


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
async def test_odd_groups_are_of_no_use(provider: Provider, groups: Any) -> None:
    async with with_login(provider) as door:
        await door.as_admin("PUT", "/members/group:admins", json={"role": "admin"})
        for _ in range(2):
            assert (await door.asked(provider.token(groups=groups), "GET", "/me")).json()["workspaces"] == []
            plain = (await door.asked(provider.token(groups=["a", "admins"]), "GET", "/me")).json()
            assert [one["role"] for one in plain["workspaces"]] == ["admin"]
