"""The gate before every request: whose it is, how large it may be, and which contract it speaks. Nothing is read before it has passed."""

from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.contracts.errors import PenstockError, UnknownVersion
from penstock.engine.api.authentication import Authenticator
from penstock.engine.api.problems import NotAllowed, answer_to, unexpected
from penstock.engine.api.settings import CONTRACT, CONTRACT_HEADER, SOFTWARE_HEADER, ApiSettings, software_version


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

    def __init__(self, app: ASGIApp, settings: ApiSettings, authenticator: Authenticator) -> None:
        self._app = app
        self._settings = settings
        self._authenticator = authenticator
        self._software = software_version()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # Nothing here speaks anything else; what is not answered is closed.
        begun = ended = False

        async def labelled(message: Message) -> None:
            nonlocal begun, ended
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers[SOFTWARE_HEADER] = self._software
                headers[CONTRACT_HEADER] = str(CONTRACT)
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            limit = self._admit(scope)
            # After the sizes, before anything is read: the routes say what the caller may do.
            scope["penstock.caller"] = await self._authenticator.caller(Headers(scope=scope).get("authorization", ""))
            self._check_contract(scope)
            await self._app(scope, _limited(receive, limit), labelled)
        except ClientDisconnect:
            return
        except PenstockError as error:
            if begun:
                raise
            await answer_to(error)(scope, receive, labelled)
        except Exception as error:
            if ended:
                return  # It was answered, and logged with that.
            if begun:
                raise
            await unexpected(error)(scope, receive, labelled)

    def _admit(self, scope: Scope) -> int:
        """How many bytes the request may have.

        :raises NotAllowed: it may not pass.
        """
        headers = Headers(scope=scope)
        is_upload = scope["method"] == "PUT" and "/artifacts/" in scope["path"]
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
