"""The gate before every request: whose it is, how large it may be, and which contract it speaks. Nothing is read before it has passed."""

import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import ip_address
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.contracts.errors import PenstockError, StoreUnavailable, UnknownVersion
from penstock.engine.api.authentication import REMEMBERED_SECONDS, Authenticator
from penstock.engine.api.links import asked_for
from penstock.engine.api.problems import NotAllowed, answer_to, unexpected
from penstock.engine.api.settings import CONTRACT, CONTRACT_HEADER, SOFTWARE_HEADER, ApiSettings, software_version

_UPLOAD = re.compile(r"/v1/artifacts/[^/]+")


def is_loopback(host: str) -> bool:
    """Whether that address or name reaches this machine only."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


class Gate:
    """ASGI middleware, the outermost: it also answers what nobody foresaw, and says on each answer which Penstock answers."""

    def __init__(
        self, app: ASGIApp, settings: ApiSettings, authenticator: Authenticator, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._settings = settings
        self._authenticator = authenticator
        self._clock = clock
        self._software = software_version()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # Nothing here speaks anything else; what is not answered is closed.
        shown = Headers(scope=scope).get("authorization", "")
        answering = _Answering(send, self._software, partial(self._is_still_known, shown), self._clock)
        try:
            limit = self._admit(scope)
            # After the sizes, before anything is read: the routes say what the caller may do.
            link = asked_for(scope) if not shown else None
            scope["penstock.caller"] = await self._authenticator.caller(shown) if link is None else self._authenticator.linked(*link)
            self._check_contract(scope)
            _check_text(scope)
            await self._app(scope, _limited(receive, limit), answering)
        except ClientDisconnect:
            return
        except Exception as error:
            if answering.ended:
                return  # It was answered, and logged with that.
            if answering.begun:
                raise
            answer = answer_to(error) if isinstance(error, PenstockError) else unexpected(error)
            await answer(scope, receive, answering)

    async def _is_still_known(self, shown: str) -> bool:
        """Whether an answer that goes on for as long as somebody looks may go on: it ends with the right to it."""
        try:
            await self._authenticator.caller(shown)
        except NotAllowed:
            return False
        except StoreUnavailable:
            return True
        return True

    def _admit(self, scope: Scope) -> int:
        """How many bytes the request may have.

        :raises NotAllowed: it may not pass.
        """
        headers = Headers(scope=scope)
        is_upload = scope["method"] == "PUT" and _UPLOAD.fullmatch(scope["path"]) is not None
        limit = self._settings.upload_limit_bytes if is_upload else self._settings.json_limit_bytes
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > limit:
            raise _too_large(limit)
        if self._authenticator.is_open:
            _check_origin(headers)
        return limit

    def _check_contract(self, scope: Scope) -> None:
        """:raises UnknownVersion: it speaks another contract."""
        headers = Headers(scope=scope)
        spoken = headers.get(CONTRACT_HEADER.lower(), str(CONTRACT))
        if spoken != str(CONTRACT):
            raise UnknownVersion(
                f"the client speaks contract {spoken[:20]!r} (Penstock {headers.get(SOFTWARE_HEADER.lower(), '?')[:40]}), these services "
                f"contract {CONTRACT} (Penstock {self._software}): install the same version on both sides"
            )


class _Answering:
    """What is sent, labelled. A stream that goes on for as long as somebody looks ends when they may not look any more."""

    def __init__(self, send: Send, software: str, may_go_on: Callable[[], Awaitable[bool]], clock: Callable[[], float]) -> None:
        self._send = send
        self._software = software
        self._may_go_on = may_go_on
        self._clock = clock
        self._asked_at = clock()
        self._is_stream = False
        self.begun = False
        self.ended = False

    async def __call__(self, message: Message) -> None:
        if self._is_stream and self._clock() - self._asked_at >= REMEMBERED_SECONDS:
            self._asked_at = self._clock()
            if not await self._may_go_on():
                self.ended = True
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                raise ClientDisconnect
        self.ended = message["type"] == "http.response.body" and not message.get("more_body", False)
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            headers[SOFTWARE_HEADER] = self._software
            headers[CONTRACT_HEADER] = str(CONTRACT)
            headers["X-Content-Type-Options"] = "nosniff"
            self._is_stream = headers.get("content-type", "").startswith("text/event-stream")
        await self._send(message)


def _check_text(scope: Scope) -> None:
    """:raises NotAllowed: the address holds what no name here has, and no database keeps."""
    if "\0" in scope["path"] or "\0" in unquote(scope.get("query_string", b"").decode("latin-1")):
        raise NotAllowed(422, "the address has a NUL in its path or query, which is in no name")


def _check_origin(headers: Headers) -> None:
    """Without a token, web pages must not reach it through the browser of somebody on this machine."""
    host = headers.get("host", "")
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if not is_loopback(name):
        raise NotAllowed(403, "an API without a token answers on this machine only: use 127.0.0.1 or localhost, or give it a token")
    if "origin" in headers:
        raise NotAllowed(403, "an API without a token answers no web page: give it a token")


def _limited(receive: Receive, limit: int) -> Receive:
    """What a client sends in pieces, without saying how much, is counted."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise _too_large(limit)
        return message

    return counted


def _too_large(limit: int) -> NotAllowed:
    return NotAllowed(413, f"the request's body is over {limit} bytes, or says no length that can be read")
