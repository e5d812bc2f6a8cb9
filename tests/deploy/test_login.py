"""Logging in from the command line: by a browser that a test plays, by a device, and renewed; and what must not become a login."""

import json
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from typer.testing import CliRunner
from typing_extensions import override

from penstock.contracts.errors import InvalidInput
from penstock.deploy.cli.application import app
from penstock.deploy.remote.identity_provider import Client, IdentityProvider, Tokens, safe_address
from penstock.deploy.remote.login import login_by_browser, login_by_device
from penstock.deploy.remote.logins import LoginToken, forget_login, keep_login, logins_file, token_source
from tests.deploy.served_engine import served
from tests.servers.oidc import CLIENT, Provider, oidc_provider

URL = "http://127.0.0.1:1"


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with oidc_provider() as made:
        yield made


@pytest.fixture
def known(provider: Provider) -> Iterator[IdentityProvider]:
    made = IdentityProvider(client_of(provider))
    yield made
    made.close()


def client_of(provider: Provider) -> Client:
    return Client(issuer=provider.url, client_id=CLIENT, audience=provider.access_audience or CLIENT, scopes="openid profile")


class Browser:
    """Goes where it is sent, in a thread; `answers` is what it saw last."""

    def __init__(self) -> None:
        self.answers: list[httpx.Response] = []
        self.addresses: list[str] = []
        self._threads: list[threading.Thread] = []

    def __call__(self, address: str) -> None:
        self.addresses.append(address)
        self._threads.append(threading.Thread(target=self._go, args=(address,)))
        self._threads[-1].start()

    def _go(self, address: str) -> None:
        with suppress(httpx.TransportError):  # Nobody is there any more when the login is done.
            self.answers.append(httpx.get(address, follow_redirects=True, timeout=10, trust_env=False))

    def close(self) -> None:
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def browser() -> Iterator[Browser]:
    made = Browser()
    yield made
    made.close()


def test_a_browser_logs_somebody_in(provider: Provider, known: IdentityProvider, browser: Browser) -> None:
    tokens = login_by_browser(known, browser, 10)

    browser.close()
    assert tokens.bearer == tokens.id_token
    assert tokens.refresh_token in provider.refresh_tokens
    assert "logged in" in browser.answers[0].text
    asked = parse_qs(urlsplit(browser.addresses[0]).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert urlsplit(asked["redirect_uri"][0]).hostname == "127.0.0.1"


def test_an_access_token_that_is_made_for_the_api_is_what_it_is_shown(provider: Provider, browser: Browser) -> None:
    provider.access_audience = "penstock-api"
    known = IdentityProvider(client_of(provider))

    assert login_by_browser(known, browser, 10).bearer != ""
    known.close()


def test_a_token_for_somebody_else_is_shown_to_nobody(provider: Provider, browser: Browser) -> None:
    provider.audience = "other"
    known = IdentityProvider(client_of(provider))

    with pytest.raises(InvalidInput, match="PENSTOCK_OIDC_AUDIENCE"):
        login_by_browser(known, browser, 10)
    known.close()


def test_a_state_that_is_not_of_this_login_is_not_taken(provider: Provider, known: IdentityProvider, browser: Browser) -> None:
    provider.tampered_state = "somebody-elses"

    with pytest.raises(InvalidInput, match="in time"):
        login_by_browser(known, browser, 1)

    browser.close()
    assert browser.answers[0].status_code == 404
    assert [asked for asked in provider.asked if "token" in asked] == []


def test_what_else_comes_to_the_address_disturbs_no_login(provider: Provider, known: IdentityProvider, browser: Browser) -> None:
    def show(address: str) -> None:
        own = parse_qs(urlsplit(address).query)["redirect_uri"][0]
        for wrong in (
            own,
            f"{own}?code=evil",
            f"{own}?code=evil&state=",
            f"{own}?code=evil&state=%C3%A9",
            own.replace("callback", "favicon.ico"),
        ):
            browser(wrong)
        browser(address)

    assert login_by_browser(known, show, 10).bearer.count(".") == 2


def test_a_token_of_another_login_is_not_taken(provider: Provider, known: IdentityProvider, browser: Browser) -> None:
    provider.nonce = "of-another-login"

    with pytest.raises(InvalidInput, match="another login"):
        login_by_browser(known, browser, 10)


def test_a_code_is_good_once_and_for_whoever_asked(provider: Provider, known: IdentityProvider, browser: Browser) -> None:
    seen: list[dict[str, str]] = []
    plain = known.post

    class Watching(IdentityProvider):
        @override
        def post(self, name: str, form: dict[str, str]) -> dict[str, object]:
            seen.append(form)
            return plain(name, form)

    login_by_browser(Watching(client_of(provider)), browser, 10)
    with pytest.raises(InvalidInput, match="invalid_grant"):
        known.tokens(seen[0])
    with pytest.raises(InvalidInput, match="invalid_grant"):
        known.tokens(seen[0] | {"code_verifier": "guessed"})


def test_a_refusal_is_told(provider: Provider, known: IdentityProvider, browser: Browser) -> None:
    provider.is_denied = True

    with pytest.raises(InvalidInput, match="access_denied"):
        login_by_browser(known, browser, 10)
    with pytest.raises(InvalidInput, match="access_denied"):
        login_by_device(known, lambda _address, _code: None, lambda _: None)


def test_a_device_waits_as_it_is_told(provider: Provider, known: IdentityProvider) -> None:
    provider.pending = 3
    pauses: list[float] = []
    told: list[tuple[str, str]] = []

    tokens = login_by_device(known, lambda address, code: told.append((address, code)), pauses.append)

    assert tokens.bearer.count(".") == 2
    assert told == [(f"{provider.url}/device", "ABCD-EFGH")]
    assert pauses == [1.0, 1.0, 1.0, 6.0]


@pytest.mark.parametrize("address", ["http://login.example.org", "ftp://127.0.0.1", "//x", "", "https://user@x", "file:///etc/passwd"])
def test_nothing_is_sent_where_it_can_be_read(address: str) -> None:
    with pytest.raises(InvalidInput, match="https"):
        safe_address(address)


def test_a_provider_that_says_it_is_another_is_not_used(provider: Provider) -> None:
    known = IdentityProvider(Client(issuer=f"{provider.url}/", client_id=CLIENT, audience=CLIENT, scopes="openid"))

    with pytest.raises(InvalidInput, match="to the letter"):
        known.endpoint("token")
    known.close()


def kept(provider: Provider, seconds: float, refresh: str | None = None) -> None:
    if refresh is not None:
        provider.refresh_tokens.add(refresh)
    tokens = Tokens(bearer="old", expires_at=time.time() + seconds, refresh_token=refresh, id_token=None)
    keep_login(URL, client_of(provider), tokens)


def test_a_login_is_for_its_owner_alone(provider: Provider) -> None:
    before = os.umask(0)
    try:
        kept(provider, 1000, "r1")
    finally:
        os.umask(before)

    assert stat.S_IMODE(logins_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(logins_file().parent.stat().st_mode) == 0o700
    logins_file().chmod(0o644)
    with pytest.raises(InvalidInput, match="chmod 600"):
        token_source(URL)


def test_a_login_is_renewed_before_it_ends_and_by_one_of_several(provider: Provider) -> None:
    kept(provider, 30, "r1")
    sources = [token_source(URL) for _ in range(8)]
    got: list[str] = []

    def show(source: LoginToken | None) -> None:
        got.append(source() if source is not None else "")

    threads = [threading.Thread(target=show, args=(source,)) for source in sources]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(set(got)) == 1
    assert got[0].count(".") == 2
    assert provider.asked.count("POST /token") == 1
    entry = json.loads(logins_file().read_text())[URL]
    assert entry["refresh_token"] in provider.refresh_tokens


def test_a_login_that_has_ended_is_told(provider: Provider) -> None:
    kept(provider, 0)
    source = token_source(URL)
    assert source is not None

    with pytest.raises(InvalidInput, match="penstock login"):
        source()
    kept(provider, 0, "r1")
    provider.refresh_tokens.clear()
    with pytest.raises(InvalidInput, match=r"invalid_grant.*penstock login"):
        source()
    assert forget_login(URL)
    assert not forget_login(URL)
    assert token_source(URL) is None


def test_the_commands_log_in_and_out(provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path / "services", slots=0, has_coordinator=False, issuer=provider.url) as engine:
        monkeypatch.setenv("PENSTOCK_API_URL", engine.url)
        monkeypatch.setenv("PENSTOCK_OIDC_ISSUER", provider.url)
        monkeypatch.setenv("PENSTOCK_OIDC_CLIENT_ID", CLIENT)
        run = CliRunner()
        admin = {"PENSTOCK_API_TOKEN": "a-token-of-tests-0123456789"}

        assert "refuse" in run.invoke(app, ["tokens", "ls"]).stderr
        first = run.invoke(app, ["login", "--device"])
        assert (first.exit_code, first.stdout) == (0, "alice, in no workspace yet: ask an admin of one\n"), first.output
        assert "ABCD-EFGH" in first.stderr
        assert run.invoke(app, ["members", "add", "alice", "--role", "author"], env=admin).exit_code == 0
        assert run.invoke(app, ["login", "--device"]).stdout == "alice, in default (author)\n"
        made = run.invoke(app, ["tokens", "create", "mine", "--role", "operator", "--days", "1"])
        assert made.stdout.startswith("pst_"), made.output
        listed = run.invoke(app, ["tokens", "ls"]).stdout
        assert "mine" in listed
        assert "made by alice" in listed
        assert made.stdout.strip() not in listed
        assert "default" in run.invoke(app, ["workspaces", "ls"]).stdout
        assert run.invoke(app, ["workspaces", "create", "x"]).exit_code == 2
        assert run.invoke(app, ["workspaces", "create", "x"], env=admin).exit_code == 0
        assert run.invoke(app, ["tokens", "revoke", "mine"]).exit_code == 0
        assert run.invoke(app, ["tokens", "ls"]).stdout == ""
        assert "revoked" in run.invoke(app, ["tokens", "ls", "--all"]).stdout
        assert "POST /workspaces" in run.invoke(app, ["tokens", "audit"], env=admin).stdout
        assert run.invoke(app, ["members", "rm", "alice"], env=admin).exit_code == 0
        assert run.invoke(app, ["logout"]).stdout == "logged out\n"
        assert json.loads(logins_file().read_text()) == {}
