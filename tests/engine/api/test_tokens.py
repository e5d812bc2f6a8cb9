"""API tokens: made once, kept as a digest, ended by time, by hand and with their owner; and everything that is none."""

import sqlite3
import string
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from penstock.contracts.access import Role
from penstock.contracts.errors import StoreUnavailable
from penstock.engine.access.tokens import id_of_token, make_token_text
from penstock.engine.api.authentication import REMEMBERED_SECONDS, TOKEN_LIMIT, Authenticator
from penstock.engine.api.gate import Gate
from penstock.engine.api.settings import ApiSettings
from penstock.engine.stores.sqlite import SqliteStore
from tests.engine.api import serving
from tests.engine.api.people import client_of, client_with, new_token
from tests.engine.api.serving import TOKEN, Api, api

DAY = 86_400_000_000
SOME = make_token_text()


@pytest.fixture
async def served() -> AsyncIterator[Api]:
    async with api() as made:
        yield made


def test_a_token_can_be_told_from_a_typing_error() -> None:
    made = make_token_text()

    assert made.text.startswith("pst_")
    assert id_of_token(made.text) == made.token_id
    assert made.text not in repr(made)
    for place in range(len(made.text)):
        other = "x" if made.text[place] != "x" else "y"
        assert id_of_token(made.text[:place] + other + made.text[place + 1 :]) is None


def test_tokens_differ_in_all_of_their_secret() -> None:
    texts = [make_token_text().text.split("_")[2][:43] for _ in range(300)]

    assert len(set(texts)) == 300
    assert all(len({text[place] for text in texts}) > 20 for place in range(1, 43))


@given(st.text(max_size=100) | st.binary(max_size=100).map(lambda data: "pst_" + data.decode("latin-1")))
def test_no_text_but_a_token_has_an_id(text: str) -> None:
    assert id_of_token(text) is None


async def test_a_token_is_shown_once_and_does_what_it_may(served: Api) -> None:
    made = await new_token(served, "ci", Role.VIEWER, days=1)
    listed = (await served.http.get("/v1/tokens")).json()["tokens"]
    client = client_of(served, made["token"])

    assert (await client.get("/v1/runs")).status_code == 200
    assert made["expires_at"] - made["made_at"] == DAY
    assert listed == [{key: value for key, value in made.items() if key != "token"}]
    assert (await served.http.get("/v1/tokens")).json()["tokens"][0]["used_at"] is not None


async def test_the_last_use_is_written_once_a_minute(served: Api) -> None:
    client = await client_with(served, Role.VIEWER)

    async def used_at() -> int:
        return int((await served.http.get("/v1/tokens")).json()["tokens"][0]["used_at"])

    await client.get("/v1/runs")
    first = await used_at()
    for _ in range(5):
        await client.get("/v1/runs")
    assert await used_at() == first


async def test_a_token_ends_at_once_where_it_is_revoked(served: Api) -> None:
    made = await new_token(served, "ci", Role.OPERATOR)
    client = client_of(served, made["token"])
    assert (await client.get("/v1/runs")).status_code == 200

    assert (await served.http.delete(f"/v1/tokens/{made['token_id']}")).status_code == 204
    answer = await client.get("/v1/runs")

    assert answer.status_code == 401
    assert "revoked" in answer.json()["detail"]
    assert (await served.http.delete(f"/v1/tokens/{made['token_id']}")).status_code == 404
    assert (await new_token(served, "ci", Role.OPERATOR))["token_id"] != made["token_id"]


async def test_a_token_that_was_revoked_elsewhere_ends_within_five_seconds(served: Api) -> None:
    clock = 1000.0
    elsewhere = Authenticator(served.store, ApiSettings(token=TOKEN), clock=lambda: clock)
    made = await new_token(served, "ci", Role.VIEWER)
    shown = f"Bearer {made['token']}"
    assert (await elsewhere.caller(shown)).name == "token:ci"
    await served.http.delete(f"/v1/tokens/{made['token_id']}")
    assert (await elsewhere.caller(shown)).name == "token:ci"

    clock += REMEMBERED_SECONDS

    assert REMEMBERED_SECONDS < 5
    with pytest.raises(Exception, match="revoked"):
        await elsewhere.caller(shown)


async def test_an_answer_that_goes_on_ends_with_the_right_to_it(served: Api) -> None:
    clock = 1000.0
    made = await new_token(served, "ci", Role.VIEWER)
    settings = ApiSettings(token=TOKEN)
    sent: list[Message] = []

    async def stream(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal clock
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number in range(100):
            if number == 50:
                await served.http.delete(f"/v1/tokens/{made['token_id']}")
            await send({"type": "http.response.body", "body": b"data: x", "more_body": True})
            clock += 0.5

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    gate = Gate(stream, settings, Authenticator(served.store, settings, clock=lambda: clock), lambda: clock)
    headers = [(b"authorization", f"Bearer {made['token']}".encode())]
    await gate({"type": "http", "method": "GET", "path": "/v1/x", "headers": headers}, receive, send)

    assert 50 <= len(sent) < 50 + 5.0 / 0.5 + 2
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_token_ends_with_its_time(served: Api) -> None:
    made = await new_token(served, "ci", Role.VIEWER, days=1e-7)
    deadline = time.monotonic() + 5
    while (answer := await client_of(served, made["token"]).get("/v1/runs")).status_code == 200:
        assert time.monotonic() < deadline

    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]
    assert (await served.http.post("/v1/tokens", json={"name": "ci", "role": "viewer"})).status_code == 201


async def test_two_valid_tokens_of_a_workspace_never_have_one_name(served: Api) -> None:
    await served.http.post("/v1/workspaces", json={"name": "other"})
    await new_token(served, "ci", Role.VIEWER)
    await new_token(served, "ci", Role.VIEWER, workspace="other")

    answer = await served.http.post("/v1/tokens", json={"name": "ci", "role": "admin"})

    assert answer.status_code == 422
    assert "already" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a b"}, {"name": ""}, {"name": "x" * 101}, {"name": "a\0"}, {"name": "ci", "role": "root"}, {"name": "ci", "role": "*"},
        {"name": "ci", "scopes": ["runs:write"]}, {"name": "ci", "scopes": ["everything"]}, {"name": "ci", "days": 0},
        {"name": "ci", "days": 1e9}, {"name": "ci", "days": "NaN"}, {"name": "ci", "owner": "root"}, {"name": "ci", "workspace": "other"},
    ],
)  # fmt: skip
async def test_a_token_that_nobody_can_have_is_not_made(served: Api, body: dict[str, object]) -> None:
    assert (await served.http.post("/v1/tokens", json=body)).status_code == 422
    assert (await served.http.get("/v1/tokens")).json() == {"tokens": []}


@pytest.mark.parametrize("role", list(Role))
async def test_nobody_makes_a_token_that_may_do_more_than_they(served: Api, role: Role) -> None:
    client = await client_with(served, role)
    for wanted in Role:
        answer = await client.post("/v1/tokens", json={"name": f"by-{role}-{wanted}", "role": wanted})
        assert answer.status_code == (201 if role is Role.ADMIN else 403), answer.text


async def test_a_limited_token_makes_tokens_that_are_as_limited(served: Api) -> None:
    client = await client_with(served, Role.ADMIN, scopes=["access", "runs:read"])

    for scopes, status in (([], 403), (["runs"], 403), (["cache:read"], 403), (["runs:read"], 201), (["access"], 201)):
        answer = await client.post("/v1/tokens", json={"name": f"t{len(str(scopes))}-{status}", "role": "viewer", "scopes": scopes})
        assert answer.status_code == status, answer.text


async def test_who_is_no_admin_sees_and_ends_their_own_tokens_only(served: Api) -> None:
    made = await new_token(served, "ci", Role.ADMIN)
    operator = await client_with(served, Role.OPERATOR)

    assert (await operator.get("/v1/tokens")).json() == {"tokens": []}
    assert (await operator.delete(f"/v1/tokens/{made['token_id']}")).status_code == 404
    assert (await client_of(served, made["token"]).get("/v1/runs")).status_code == 200


MALICIOUS = [
    "pst_", "pst__", f"pst_{'a' * 12}_{'b' * 49}", SOME.text, SOME.text[:-1], SOME.text + "x", SOME.text.upper(),
    SOME.text.replace("pst_", "psr_"),
    f"{SOME.text}\t", "pst_" + "a" * (TOKEN_LIMIT * 2), "x" * (TOKEN_LIMIT * 4), "a.b.c", "..", "." * 2000, ":" * 5000, "a:b:c:d",
    "' OR 1=1 --", "pst_'; DROP TABLE api_token; --_x", "%00", "\\u0000", "Bearer " + TOKEN, f"{TOKEN},{TOKEN}", f"{TOKEN} {TOKEN}",
    "null", "undefined", "[]", "{}", "../../etc/passwd", "pst_ａｂｃ", "é" * 30, "\x7f\x80\xff", "\u202e", "a" * 64, SOME.digest,
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Basic", "Token", "", "Bearer Bearer", "\xa0Bearer"])
async def test_what_is_no_token_opens_nothing_and_breaks_nothing(served: Api, scheme: str) -> None:
    for text in MALICIOUS:
        given = f"{scheme} {text}".encode()
        answer = await served.bare.get("/v1/runs", headers=[(b"Authorization", given)])
        assert answer.status_code == 401, text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"
    twice = await served.bare.get("/v1/runs", headers=[(b"Authorization", b"Bearer x"), (b"Authorization", f"Bearer {TOKEN}".encode())])
    assert twice.status_code == 401
    assert (await served.http.get("/v1/runs")).status_code == 200


async def test_a_right_id_with_another_secret_is_nobodys(served: Api) -> None:
    made = await new_token(served, "ci", Role.ADMIN)
    body = f"pst_{made['token_id']}_{make_token_text().text.split('_')[2][:43]}"
    # As whoever knows how tokens are made would.
    checksum, number = "", zlib.crc32(body.encode())
    for _ in range(6):
        number, digit = divmod(number, 62)
        checksum = (string.digits + string.ascii_uppercase + string.ascii_lowercase)[digit] + checksum

    assert id_of_token(body + checksum) == made["token_id"]
    assert (await client_of(served, body + checksum).get("/v1/runs")).status_code == 401


async def test_a_token_is_in_no_log_and_in_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.sqlite"
    monkeypatch.setattr(serving, "make_store", lambda: SqliteStore(path))
    with structlog.testing.capture_logs() as logs:
        async with api() as served:
            made = await new_token(served, "ci", Role.ADMIN)
            client = client_of(served, made["token"])
            answers = [
                await client.get("/v1/runs"),
                await client.post("/v1/tokens", json={"name": made["token"]}),
                await client.delete("/v1/runs/nobody"),
                await client.get("/v1/audit"),
                await client.get("/v1/tokens"),
                await client_of(served, made["token"] + "x").get("/v1/runs"),
            ]
    secret = made["token"].split("_")[2][:43]

    assert [secret in answer.text for answer in answers] == [False] * 6
    assert secret not in repr(logs)
    assert secret.encode() not in path.read_bytes()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM api_token").fetchone() == (1,)
    connection.close()


async def test_without_its_store_the_api_knows_the_token_of_its_settings_only(served: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await new_token(served, "ci", Role.ADMIN)
    authenticator: Authenticator = served.app.state.authenticator

    class Away:
        is_concurrent = False

        async def read(self, _function: object) -> object:
            raise StoreUnavailable("the store is away")

    monkeypatch.setattr(authenticator, "store", Away())
    authenticator.forget()

    assert (await client_of(served, made["token"]).get("/v1/runs")).status_code == 503
    assert (await served.http.get("/v1/runs")).status_code == 200


async def test_what_somebody_does_is_written_down_before_it_is_done(served: Api) -> None:
    operator = await client_with(served, Role.OPERATOR)
    await operator.delete("/v1/runs/nobody")
    for _ in range(3):
        assert (await operator.post("/v1/workspaces", json={"name": "x"})).status_code == 403
    await operator.get("/v1/runs")

    audit = (await served.http.get("/v1/audit")).json()
    told = [(one["number"], one["principal"], one["action"], one["subject"], one["outcome"]) for one in audit["entries"]]

    assert told == [
        (3, "token:default-operator", "POST /workspaces", "/v1/workspaces", "denied"),
        (2, "token:default-operator", "DELETE /runs/{run}", "/v1/runs/nobody", "allowed"),
        (1, "bootstrap", "POST /tokens", "/v1/tokens", "allowed"),
    ]
    older: httpx.Response = await served.http.get("/v1/audit?before=3&limit=1")
    assert [one["number"] for one in older.json()["entries"]] == [2]
    assert older.json()["next"] == 2


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ("UPDATE audit SET outcome = 'allowed' WHERE audit_no = 3", 3),
        ("DELETE FROM audit WHERE audit_no = 2", 2),
        ("DELETE FROM audit WHERE audit_no = 1", 1),
        ("UPDATE audit SET principal = 'eve' WHERE audit_no = 1", 1),
        ("UPDATE audit SET chain = 'x' WHERE audit_no = 2", 2),
    ],
)
async def test_a_log_that_somebody_has_changed_tells_it(served: Api, change: str, wrong: int) -> None:
    operator = await client_with(served, Role.OPERATOR)
    await operator.delete("/v1/runs/nobody")
    await operator.post("/v1/workspaces", json={"name": "x"})
    assert (await served.http.get("/v1/audit/check")).json() == {"first_wrong": None}

    await served.store.transaction(lambda connection: connection.exec_driver_sql(change))

    assert (await served.http.get("/v1/audit/check")).json() == {"first_wrong": wrong}
