"""The connection to services: requests with a token and a contract, tried again where that is harmless; refusals as the SDK's errors."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from typing_extensions import override

from penstock.contracts import errors
from penstock.contracts.errors import ArtifactLost, EngineUnavailable, InvalidInput, PenstockError, UnknownVersion

CONTRACT = 1
"""The version of requests and answers that this client knows."""
PAUSES = (0.1, 0.3, 1.0, 2.0)
"""Seconds before each further try."""
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
_PASSING = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
Body = Callable[[], Iterator[bytes]]
"""Makes the body anew for each try."""


class _Shown(httpx.Auth):
    """Shows a token with each request."""

    def __init__(self, token: str | Callable[[], str]) -> None:
        self._token = token

    @override
    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {self._token if isinstance(self._token, str) else self._token()}"
        yield request


class Connection:
    """May be used by any thread. `pause` waits between tries; `transport` takes requests another way than over the network. A `token` that
    is called gives one that is valid at the moment; `workspace` None: the one that the token is for."""

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str] | None,
        pause: Callable[[float], None] = time.sleep,
        *,
        transport: httpx.BaseTransport | None = None,
        workspace: str | None = None,
    ) -> None:
        self.url = _checked(url)
        self._pause = pause
        headers = {"Penstock-Contract": str(CONTRACT), "Penstock-Version": version("penstock")}
        if workspace is not None:
            headers["Penstock-Workspace"] = workspace
        is_near = urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")
        # A proxy leads elsewhere than to this machine.
        self._http = httpx.Client(
            headers=headers,
            auth=_Shown(token) if token is not None else None,
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            trust_env=not is_near,
            follow_redirects=False,
            transport=transport,
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        """What is there."""
        return self.ask("GET", path, parameters=parameters)

    def ask(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        is_repeatable: bool = True,
    ) -> httpx.Response:
        """The answer; 304 is one. Only what `is_repeatable` is sent again when it is unknown whether it was taken in.

        :raises PenstockError: the services refuse; the class and the text are theirs.
        :raises EngineUnavailable: they can't be reached.
        """
        given = {name: value for name, value in (parameters or {}).items() if value is not None}

        def once() -> httpx.Response:
            return self._http.request(method, self.url + path, json=json, params=given)

        return self._tried(once, is_repeatable)

    def upload(self, path: str, body: Body, size: int) -> None:
        """Puts bytes there, streamed.

        :raises PenstockError: as `ask`.
        """
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        self._tried(lambda: self._http.put(self.url + path, content=body(), headers=headers), is_repeatable=True)

    @contextmanager
    def download(self, path: str) -> Generator[Iterator[bytes]]:
        """The bytes that are there, in pieces. Not tried again by itself, for some of it may have been used.

        :raises PenstockError: as `ask`.
        """
        with self._told(), self._http.stream("GET", self.url + path) as response:
            if response.status_code != HTTPStatus.OK:
                response.read()
            self._check(response)
            yield response.iter_bytes(1024 * 1024)

    def _tried(self, once: Callable[[], httpx.Response], is_repeatable: bool) -> httpx.Response:
        for pause in (*PAUSES, None):
            try:
                response = once()
            except httpx.TransportError as error:
                if pause is None or not (is_repeatable or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)):
                    raise self._unreachable(error) from error
            else:
                if response.status_code not in _PASSING or pause is None or not is_repeatable:
                    self._check(response)
                    return response
            self._pause(pause)
        raise AssertionError  # The last try returns or raises.

    @contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> EngineUnavailable:
        return EngineUnavailable(
            f"the services at {self.url} can't be reached ({type(error).__name__}: {error}); is PENSTOCK_API_URL right, and does "
            "`penstock api` run there?"
        )

    def _check(self, response: httpx.Response) -> None:
        """:raises PenstockError: the answer is a refusal, or of services that are newer than this client."""
        contract = response.headers.get("Penstock-Contract", "")
        software = response.headers.get("Penstock-Version", "?")
        if contract.isdecimal() and int(contract) > CONTRACT:
            raise UnknownVersion(
                f"the services at {self.url} speak contract {contract} (Penstock {software}), this Penstock "
                f"({version('penstock')}) contract {CONTRACT}: install the services' version here"
            )
        if response.is_success or response.status_code == HTTPStatus.NOT_MODIFIED:
            if not contract:
                raise EngineUnavailable(f"what answers at {self.url} is no Penstock API; is PENSTOCK_API_URL right?")
            return
        raise _refusal(response, self.url)


def _refusal(response: httpx.Response, url: str) -> PenstockError:
    try:
        plain: Any = response.json()
    except ValueError:
        plain = None
    if not isinstance(plain, dict) or "code" not in plain:
        return EngineUnavailable(f"{url} answered {response.status_code} {response.reason_phrase}, and not as a Penstock API does")
    body = cast("dict[str, Any]", plain)
    detail = str(body.get("detail", ""))
    kind = getattr(errors, str(body["code"]), None)
    if kind is ArtifactLost:
        return ArtifactLost(detail, str(body.get("digest", "")))
    if kind is UnknownVersion:
        return UnknownVersion(f"{detail} (here is Penstock {version('penstock')}, there {response.headers.get('Penstock-Version', '?')})")
    if isinstance(kind, type) and issubclass(kind, PenstockError):
        return kind(detail)
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return EngineUnavailable(f"the services at {url} failed: {detail}")
    return InvalidInput(f"the services at {url} refuse: {detail}")


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise InvalidInput(f"PENSTOCK_API_URL is {url!r}: write it as https://host:port (a token goes into PENSTOCK_API_TOKEN)")
    return url.rstrip("/") + ("" if parts.path.rstrip("/").endswith("/v1") else "/v1")
