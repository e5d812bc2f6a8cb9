"""Requests under an `Idempotency-Key`: the same one again is given the same answer, and is not done twice.

The answer is written down before it is sent. Who dies between doing and writing leaves a key that is busy for a minute; after that the
request is done again: it is done at least once, and what it makes bears that (runs by `run_id`, events by source and id, others by name).
"""

import hashlib
import re
import time
from urllib.parse import quote

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.contracts.access import Principal
from penstock.contracts.errors import InvalidInput
from penstock.engine.access.kept_answers import KEPT_MICROSECONDS, Asked, KeptAnswer, begin, drop, finish, forget_answers
from penstock.engine.store import Store

HEADER = "Idempotency-Key"
REPEATED_HEADER = "Idempotent-Replayed"
UNKEPT = frozenset(
    {
        # Its answers hold secrets, which are kept nowhere.
        "POST /tokens",
        "POST /subscriptions",
        "POST /subscriptions/{name}/rotate",
        "POST /artifacts/{digest}/link",
        # The key is the run's own there, for as long as there is the run.
        "POST /pipelines/{name}/runs",
        # They change nothing, or are large and say themselves what they are.
        "POST /missing-artifacts",
        "POST /events",
    }
)
_KEY = re.compile(r"[!-~]{1,255}")
_BODY_LIMIT = 1024 * 1024
_HEADERS = ("content-type", "location")
_SCOPE = "penstock.asked"
_SWEEP_SECONDS = 600.0


class AnsweredBefore(Exception):
    """Ends a request whose answer is known."""

    def __init__(self, answer: KeptAnswer) -> None:
        super().__init__()
        self.answer = answer


async def answer_again(_request: Request, known: Exception) -> Response:
    """The same answer, which says that it is."""
    assert isinstance(known, AnsweredBefore)  # noqa: S101 - installed for these
    return Response(known.answer.body, known.answer.status, {**known.answer.headers, REPEATED_HEADER: "true"})


async def check_repeat(request: Request, route: str, principal: Principal, store: Store) -> None:
    """Returns if the request is to be done.

    :raises AnsweredBefore: it was.
    :raises InvalidInput: its key can't be one, or stands for something else, or somebody is at it.
    """
    key = request.headers.get(HEADER)
    if key is None or request.method != "POST" or route in UNKEPT:
        return
    if not _KEY.fullmatch(key):
        raise InvalidInput(f"{HEADER}: it has 1 to 255 characters of ASCII, without spaces")
    hashed = hashlib.sha256(b"%s?%s\n" % (quote(request.scope["path"]).encode(), request.scope["query_string"]))
    hashed.update(await request.body())
    at = time.time_ns() // 1000
    asked = Asked(workspace=principal.workspace, principal=principal.name, key=key, digest=f"sha256:{hashed.hexdigest()}", at=at)
    known = await store.transaction(lambda connection: begin(connection, asked))
    if known is not None:
        raise AnsweredBefore(known)
    request.scope[_SCOPE] = asked


class Repeats:
    """ASGI middleware, inside the gate: keeps what is answered to requests that were begun so."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self._app = app
        self._store = store
        self._swept_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        held: list[Message] = []

        async def holding(message: Message) -> None:
            if _SCOPE not in scope:
                await send(message)
                return
            held.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await self._settle(scope.pop(_SCOPE), held)
                for one in held:
                    await send(one)

        try:
            await self._app(scope, receive, holding)
        finally:
            asked: Asked | None = scope.pop(_SCOPE, None)
            if asked is not None:
                await self._store.transaction(lambda connection: drop(connection, asked))

    async def _settle(self, asked: Asked, messages: list[Message]) -> None:
        start = next(message for message in messages if message["type"] == "http.response.start")
        body = b"".join(message.get("body", b"") for message in messages)
        headers = Headers(raw=start["headers"])
        if not 200 <= start["status"] < 300 or len(body) > _BODY_LIMIT:
            await self._store.transaction(lambda connection: drop(connection, asked))
            return
        answer = KeptAnswer(status=start["status"], headers={name: headers[name] for name in _HEADERS if name in headers}, body=body)
        await self._store.transaction(lambda connection: finish(connection, asked, answer))
        if time.monotonic() - self._swept_at >= _SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            await self._store.transaction(lambda connection: forget_answers(connection, asked.at - KEPT_MICROSECONDS))
