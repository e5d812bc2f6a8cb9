"""Logins that the API takes, and those that it must not: each is one change away from a good one."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from penstock.contracts.access import Role
from penstock.contracts.errors import InvalidInput, StoreUnavailable
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.api import check_address
from penstock.deploy.services.api_service import open_people
from penstock.deploy.services.oidc_people import AGAIN_SECONDS, FRESH_SECONDS, STALE_SECONDS, Issuer, OidcPeople
from penstock.engine.api.app import create_app
from penstock.engine.api.authentication import Person
from penstock.engine.api.settings import ApiSettings
from penstock.engine.stores.sqlite import MemoryStore
from penstock.transport.artifact_stores.memory import MemoryArtifactStore
from penstock.transport.buses.memory import MemoryBus
from tests.engine.api.serving import TOKEN
from tests.servers.oidc import CLIENT, Key, Provider, oidc_provider

ALICE = Person(subject="alice", groups=("team",))
NOW = int(time.time())


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def provider() -> Iterator[Provider]:
    with oidc_provider() as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def people(provider: Provider, clock: Clock) -> AsyncIterator[OidcPeople]:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        yield OidcPeople(Issuer(issuer=provider.url, audience=CLIENT), http, clock)


def unsigned(claims: dict[str, Any], header: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_login_says_who_somebody_is(provider: Provider, people: OidcPeople, algorithm: str) -> None:
    provider.keys = [Key.make("first"), Key.make("mine", algorithm)]

    assert await people.person(provider.token(provider.keys[1])) == ALICE
    assert await people.person(provider.token(provider.keys[1], aud=["other", CLIENT])) == ALICE
    assert await people.person(provider.token(provider.keys[1], headers={"typ": "at+jwt"})) == ALICE


@pytest.mark.parametrize(
    "change",
    [
        {"exp": NOW - 60}, {"exp": None}, {"exp": "soon"}, {"nbf": NOW + 600}, {"iat": NOW + 600}, {"iat": None},
        {"aud": "other"}, {"aud": None}, {"aud": ["a", "b"]}, {"aud": {}}, {"iss": "https://evil.example.org"}, {"iss": None},
        {"sub": None}, {"sub": ""}, {"sub": 5},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
async def test_a_login_that_says_something_else_is_none(provider: Provider, people: OidcPeople, change: dict[str, Any]) -> None:
    assert await people.person(provider.token(**change)) is None


async def test_a_login_without_a_signature_of_the_provider_is_none(provider: Provider, people: OidcPeople) -> None:
    key = provider.keys[0]
    good = provider.token()
    public = key.private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head, body, signature = good.split(".")
    stranger = Key.make("key-1")
    own = Key.make("key-1")
    attacks = {
        "none": unsigned(provider.claims(), {"alg": "none", "kid": "key-1", "typ": "JWT"}),
        "None": unsigned(provider.claims(), {"alg": "None", "kid": "key-1"}),
        "none with a signature": unsigned(provider.claims(), {"alg": "none", "kid": "key-1"}, b"x" * 256),
        "stripped": f"{head}.{body}.",
        "another key of that name": provider.token(stranger),
        "its own key": provider.token(own, headers={"jwk": own.public()}),
        "a key elsewhere": provider.token(own, headers={"jku": "https://evil.example.org/keys"}),
        "no name of a key": jwt.encode(provider.claims(), key.private, algorithm="RS256"),
        "an unknown key": provider.token(Key.make("key-2")),
        "a path as a key": provider.token(key, headers={"kid": "../../dev/null"}),
        "a number as a key": unsigned(provider.claims(), {"alg": "RS256", "kid": 1}),
        "another algorithm": jwt.encode(provider.claims(), key.private, algorithm="RS512", headers={"kid": "key-1"}),
        "another claim": f"{head}.{unsigned(provider.claims(sub='root'), {}).split('.')[1]}.{signature}",
        "another kind": provider.token(headers={"typ": "logout+jwt"}),
        "a critical word": provider.token(headers={"crit": ["b64"], "b64": False}),
    }
    # The library refuses to sign so.
    for name in ("HS256", "HS384", "HS512"):
        signed = unsigned(provider.claims(), {"alg": name, "kid": "key-1", "typ": "JWT"}).rstrip(".")
        digest = hmac.digest(public, signed.encode(), f"sha{name[2:]}")
        attacks[f"{name} with the public key"] = f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    assert [name for name, token in attacks.items() if await people.person(token) is not None] == []
    assert await people.person(good) == ALICE


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "eyJ.eyJ.x", "." * 5000, "é.é.é", "e30.e30.", "bnVsbA.bnVsbA.", "W10.W10."])
async def test_what_is_no_login_is_none(people: OidcPeople, text: str) -> None:
    assert await people.person(text) is None


async def test_a_key_that_is_new_is_found_and_one_that_is_gone_is_forgotten(provider: Provider, people: OidcPeople, clock: Clock) -> None:
    old = provider.token()
    assert await people.person(old) == ALICE
    provider.keys = [Key.make("key-2")]
    new = provider.token()

    assert await people.person(new) is None
    clock.now += AGAIN_SECONDS
    assert await people.person(new) == ALICE
    assert await people.person(old) is None


async def test_keys_that_nobody_has_are_not_looked_for_again_and_again(provider: Provider, people: OidcPeople) -> None:
    assert await people.person(provider.token()) == ALICE
    provider.asked.clear()

    for number in range(20):
        assert await people.person(provider.token(headers={"kid": f"x{number}"})) is None

    assert provider.asked == []


async def test_a_provider_that_is_away_locks_nobody_out_for_an_hour(provider: Provider, people: OidcPeople, clock: Clock) -> None:
    token = provider.token(exp=NOW + 100_000)
    assert await people.person(token) == ALICE
    provider.url += "/elsewhere"
    for _ in range(3):
        clock.now += FRESH_SECONDS
        assert await people.person(token) == ALICE

    clock.now += STALE_SECONDS
    with pytest.raises(StoreUnavailable, match="can't be reached"):
        await people.person(token)


async def test_a_provider_that_says_it_is_another_one_is_not_believed(provider: Provider) -> None:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        people = OidcPeople(Issuer(issuer=f"{provider.url}/", audience=CLIENT), http)
        with pytest.raises(StoreUnavailable):
            await people.person(provider.token())


async def test_an_address_that_nobody_has_shown_to_be_theirs_is_nobodys(provider: Provider) -> None:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        people = OidcPeople(Issuer(issuer=provider.url, audience=CLIENT, subject_claim="email", groups_claim="roles"), http)
        own = Person(subject="a@example.org", groups=("x",))
        assert await people.person(provider.token(email="a@example.org", email_verified=True, roles=["x", 5])) == own
        assert await people.person(provider.token(email="a@example.org")) is None
        assert await people.person(provider.token(email="a@example.org", email_verified="true")) is None


async def test_a_person_may_do_what_the_members_say_of_them_and_their_groups(provider: Provider, people: OidcPeople) -> None:
    app = create_app(MemoryStore(), MemoryBus(), MemoryArtifactStore(), ApiSettings(token=TOKEN), people=people)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers={"Authorization": f"Bearer {TOKEN}"}) as admin:
        me = {"Authorization": f"Bearer {provider.token()}"}
        nobody = await admin.get("/v1/runs", headers=me)
        assert (nobody.status_code, (await admin.get("/v1/me", headers=me)).json()["workspaces"]) == (403, [])
        await admin.post("/v1/workspaces", json={"name": "other"})
        await admin.put("/v1/members/group:team", json={"role": "viewer"})
        await admin.put("/v1/members/alice", json={"role": "author"}, headers={"Penstock-Workspace": "other"})

        told = (await admin.get("/v1/me", headers=me)).json()
        assert (told["name"], told["kind"], told["groups"], told["workspace"]) == ("alice", "person", ["team"], "default")
        assert told["workspaces"] == [{"name": "default", "role": Role.VIEWER}, {"name": "other", "role": Role.AUTHOR}]
        assert (await admin.delete("/v1/cache", headers=me)).status_code == 403
        assert (await admin.delete("/v1/cache?workspace=other", headers=me)).status_code == 200
        own = await admin.post("/v1/tokens?workspace=other", json={"name": "mine", "role": "author"}, headers=me)
        assert own.status_code == 201
        token = {"Authorization": f"Bearer {own.json()['token']}"}
        assert (await admin.get("/v1/runs", headers=token)).status_code == 200

        await admin.delete("/v1/members/alice?workspace=other")
        assert (await admin.get("/v1/runs?workspace=other", headers=me)).status_code == 404
        assert (await admin.get("/v1/runs", headers=token)).status_code == 401
        assert (await admin.get("/v1/runs", headers={"Authorization": f"Bearer {provider.token(sub='token:ci')}"})).status_code == 401


async def test_an_api_whose_people_log_in_may_listen_everywhere() -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - it listens to nobody
    check_address(everywhere, None, has_login=True)
    with pytest.raises(InvalidInput, match="PENSTOCK_OIDC_CLIENT_ID"):
        async with open_people(ServiceSettings(oidc_issuer="https://login.example.org")):
            pass
    async with open_people(ServiceSettings()) as people:
        assert people is None


@pytest.mark.parametrize("issuer", ["http://login.example.org", "ftp://x", "login.example.org", "https://user:pw@x", "https://x/?a=b"])
def test_an_issuer_that_can_be_read_on_the_way_is_refused(issuer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_OIDC_ISSUER", issuer)

    with pytest.raises(InvalidInput, match="PENSTOCK_OIDC_ISSUER"):
        ServiceSettings.read()


@pytest.mark.parametrize("token", ["changeme-changeme-changeme", "0000000000000000000", "penstock-penstock", "secret_secret_secret"])
def test_a_token_that_anybody_can_guess_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_API_TOKEN", token)

    with pytest.raises(InvalidInput, match="guess"):
        ServiceSettings.read()
