"""Whose request it is, by what it shows: the token of the settings, an API token, or what an identity provider says of a person.

What the rows say is remembered for a few seconds: so long, at most, a token that was revoked elsewhere still works here.
"""

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog
from sqlalchemy import Connection

from penstock.contracts.access import GROUP_PREFIX, Role
from penstock.contracts.errors import StoreUnavailable
from penstock.engine.access.audit import Deed, record
from penstock.engine.access.grants import KnownToken, has_workspace, known_token, roles_of, use_token
from penstock.engine.access.tokens import PREFIX, digest_of_token, id_of_token
from penstock.engine.api.callers import BOOTSTRAP_CALLER, LOCAL_CALLER, Caller, is_name_of_person
from penstock.engine.api.links import opened
from penstock.engine.api.problems import NotAllowed
from penstock.engine.api.settings import ApiSettings
from penstock.engine.store import Store

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.api")

REMEMBERED_SECONDS = 3.0
"""Revoking is to work within 5 seconds, and a look at the rows may take one."""
TOKEN_LIMIT = 16 * 1024
"""Characters. What is longer is no token of anybody."""
_REMEMBERED = 10_000
_SUBJECT_LIMIT = 255
_USED_SECONDS = 60.0
_UNKNOWN = "these services don't know that token; see PENSTOCK_API_TOKEN, or log in with `penstock login`"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What an identity provider says of whoever is logged in."""

    subject: str
    groups: tuple[str, ...] = ()


class People(Protocol):
    """An identity provider."""

    async def person(self, token: str) -> Person | None:
        """Who that is; None: the token is not valid here, for whatever reason.

        :raises StoreUnavailable: the provider can't be asked at the moment.
        """
        ...


class _Memory(Generic[T]):
    """What was found a moment ago, and that nothing was."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._found: dict[str, tuple[float, T]] = {}

    def get(self, key: str) -> tuple[T] | None:
        at, value = self._found.get(key, (float("-inf"), None))
        if self._clock() - at >= REMEMBERED_SECONDS:
            return None
        return (value,)  # type: ignore[return-value]  # a time that is not long ago comes with a value

    def put(self, key: str, value: T, asked_at: float) -> None:
        """`asked_at`: what the rows say now may change while they are read."""
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[key] = (asked_at, value)

    def clear(self) -> None:
        self._found.clear()


class Authenticator:
    """Of one API process."""

    def __init__(
        self, store: Store, settings: ApiSettings, people: People | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store = store
        self._settings = settings
        self._people = people
        self._clock = clock
        self._tokens: _Memory[KnownToken | None] = _Memory(clock)
        self._roles: _Memory[Caller] = _Memory(clock)
        self._workspaces: _Memory[bool] = _Memory(clock)
        self._denied: _Memory[bool] = _Memory(clock)
        self._uses: dict[str, float] = {}

    @property
    def is_open(self) -> bool:
        """Whether whoever reaches it may do everything."""
        return self._settings.token is None and self._people is None

    def forget(self) -> None:
        """Something has changed in the rows: it holds at once here."""
        for memory in (self._tokens, self._roles, self._workspaces):
            memory.clear()

    def linked(self, digest: str, shown: str) -> Caller:
        """Who reads that artifact by a link.

        :raises NotAllowed: it is no link to it, or not any more.
        """
        key = self._settings.signing_key
        link = opened(shown, digest, key, time.time_ns() // 1000) if key is not None else None
        if link is None:
            raise NotAllowed(401, "that link is none to this artifact, or it has ended: ask whoever gave it for another one")
        return Caller(name="link", kind="link", roles={link.workspace: Role.VIEWER}, scopes=("artifacts:read",))

    async def caller(self, authorization: str) -> Caller:
        """Who shows that header.

        :raises NotAllowed: nobody who is known.
        :raises StoreUnavailable: it can't be told now.
        """
        if self.is_open:
            return LOCAL_CALLER
        token = _shown(authorization)
        bootstrap = self._settings.token
        if bootstrap is not None and hmac.compare_digest(token.encode(), bootstrap.encode()):
            return BOOTSTRAP_CALLER
        if token.startswith(PREFIX):
            return await self._holder(token)
        if self._people is not None and token.count(".") == 2:
            return await self._person(token, self._people)
        raise NotAllowed(401, _UNKNOWN)

    async def has_workspace(self, name: str) -> bool:
        """Whether there is such a workspace; that of the settings is always there."""
        if name == self._settings.workspace:
            return True
        if (found := self._workspaces.get(name)) is not None:
            return found[0]
        asked_at = self._clock()
        exists = await self.store.read(lambda connection: has_workspace(connection, name))
        self._workspaces.put(name, exists, asked_at)
        return exists

    @property
    def default_workspace(self) -> str:
        """Where requests go that name none."""
        return self._settings.workspace

    async def record(self, workspace: str, deed: Deed) -> None:
        """Adds it to the audit log. The same refusal again is added once in a while, so that nobody fills the log with theirs."""
        if deed.outcome == "denied":
            key = "\0".join((workspace, deed.principal, deed.action, deed.subject))
            if self._denied.get(key) is not None:
                return
            self._denied.put(key, True, self._clock())
        await self.store.transaction(lambda connection: record(connection, workspace, deed, time.time_ns() // 1000))

    async def _holder(self, token: str) -> Caller:
        token_id = id_of_token(token)
        known = await self._known(token_id) if token_id is not None else None
        # Compared in any case: how long an answer takes tells nothing of which ids exist.
        is_same = hmac.compare_digest(digest_of_token(token), known.digest if known is not None else "0" * 64)
        now = time.time_ns() // 1000
        if known is None or not is_same:
            raise NotAllowed(401, _UNKNOWN)
        if known.revoked_at is not None:
            raise NotAllowed(401, f"the token {known.name!r} was revoked; an admin makes another: penstock tokens create")
        if known.expires_at is not None and known.expires_at <= now:
            raise NotAllowed(401, f"the token {known.name!r} has expired; an admin makes another: penstock tokens create")
        await self._use(known, now)
        return Caller(name=f"token:{known.name}", kind="token", roles={known.workspace: known.role}, scopes=known.scopes)

    async def _known(self, token_id: str) -> KnownToken | None:
        if (found := self._tokens.get(token_id)) is not None:
            return found[0]
        asked_at = self._clock()
        known = await self.store.read(lambda connection: known_token(connection, token_id))
        self._tokens.put(token_id, known, asked_at)
        return known

    async def _use(self, known: KnownToken, now: int) -> None:
        at = self._clock()
        if at - self._uses.get(known.token_id, float("-inf")) < _USED_SECONDS:
            return
        if len(self._uses) >= _REMEMBERED:
            self._uses.clear()
        self._uses[known.token_id] = at
        try:
            await self.store.transaction(lambda connection: use_token(connection, known.token_id, now))
        except StoreUnavailable as error:
            log.warning("token.use_not_written", token_id=known.token_id, reason=str(error))

    async def _person(self, token: str, people: People) -> Caller:
        person = await people.person(token)
        if person is None or len(person.subject) > _SUBJECT_LIMIT or not is_name_of_person(person.subject):
            raise NotAllowed(401, "these services don't accept that login; log in again with `penstock login`")
        groups = tuple(group for group in person.groups if group.isprintable() and len(group) <= _SUBJECT_LIMIT)
        subjects = [person.subject, *(f"{GROUP_PREFIX}{group}" for group in groups)]
        key = "\0".join(subjects)
        if (found := self._roles.get(key)) is not None:
            return found[0]
        asked_at = self._clock()

        def look(connection: Connection) -> Caller:
            return Caller(name=person.subject, kind="person", roles=roles_of(connection, subjects), groups=groups)

        caller = await self.store.read(look)
        self._roles.put(key, caller, asked_at)
        return caller


def _shown(authorization: str) -> str:
    """:raises NotAllowed: it shows no token."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotAllowed(401, "these services want a token: set PENSTOCK_API_TOKEN, or send it as `Authorization: Bearer <token>`")
    token = token.strip()
    if len(token) > TOKEN_LIMIT or not token.isascii():
        raise NotAllowed(401, _UNKNOWN)
    return token
