"""Logins that are kept, by the address of the services: what the API is shown, renewed shortly before it ends."""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from penstock.contracts.errors import InvalidInput
from penstock.deploy.private_files import private_folder, read_private, write_private
from penstock.deploy.remote.identity_provider import Client, IdentityProvider, Tokens

_FILE = "logins.json"
EARLY_SECONDS = 60.0
"""So long before its end a login is renewed."""


def logins_file() -> Path:
    return private_folder() / _FILE


def keep_login(url: str, client: Client, tokens: Tokens) -> None:
    """In place of the login that was kept for these services."""
    with _locked():
        write_private(logins_file(), {**read_private(logins_file()), url: _entry(client, tokens, tokens.refresh_token)})


def forget_login(url: str) -> bool:
    """Whether there was one."""
    with _locked():
        known = read_private(logins_file())
        if url not in known:
            return False
        write_private(logins_file(), {other: entry for other, entry in known.items() if other != url})
    return True


def token_source(url: str, clock: Callable[[], float] = time.time) -> "LoginToken | None":
    """What shows the login that is kept for these services; None: there is none.

    :raises InvalidInput: the file can't be used.
    """
    return LoginToken(url, clock) if url in read_private(logins_file()) else None


class LoginToken:
    """Called, it is the token of a login, which is valid for a while yet."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self._url = url
        self._clock = clock
        self._entry: dict[str, Any] = {}

    def __call__(self) -> str:
        """:raises InvalidInput: it has ended, and can't be renewed."""
        if not self._is_fresh(self._entry):
            self._entry = self._renewed()
        return str(self._entry["bearer"])

    def _is_fresh(self, entry: dict[str, Any]) -> bool:
        return bool(entry) and self._clock() < float(entry.get("expires_at", 0)) - EARLY_SECONDS

    def _renewed(self) -> dict[str, Any]:
        # Others may renew it at the same time, and many providers take a refresh token once.
        with _locked():
            known = read_private(logins_file())
            entry: dict[str, Any] = known.get(self._url) or {}
            if self._is_fresh(entry):
                return entry
            refresh = entry.get("refresh_token")
            if not refresh:
                raise InvalidInput(f"the login for {self._url} has ended; log in again: penstock login")
            client = Client(**{name: str(entry[name]) for name in ("issuer", "client_id", "audience", "scopes")})
            provider = IdentityProvider(client)
            try:
                tokens = provider.tokens({"grant_type": "refresh_token", "refresh_token": str(refresh)})
            finally:
                provider.close()
            entry = _entry(client, tokens, tokens.refresh_token or str(refresh))
            write_private(logins_file(), {**known, self._url: entry})
            return entry


def _entry(client: Client, tokens: Tokens, refresh_token: str | None) -> dict[str, Any]:
    return {
        "issuer": client.issuer,
        "client_id": client.client_id,
        "audience": client.audience,
        "scopes": client.scopes,
        "bearer": tokens.bearer,
        "expires_at": tokens.expires_at,
        "refresh_token": refresh_token,
    }


@contextmanager
def _locked() -> Generator[None]:
    path = logins_file().with_suffix(".lock")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600)) as file:
        with suppress(ImportError):
            import fcntl  # noqa: PLC0415 -- some systems have none; there, two processes may renew a login at once

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
