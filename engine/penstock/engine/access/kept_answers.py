"""Answers that are kept under a key which whoever asks has chosen: asked again, they are given again, and nothing is done twice.

A row without an answer is somebody who is at it; after a while it is somebody who died at it, and the next one may try.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.contracts.errors import InvalidInput
from penstock.engine.access_tables import kept_answer
from penstock.engine.statement import Statement

KEPT_MICROSECONDS = 24 * 3600 * 1_000_000
BUSY_MICROSECONDS = 60 * 1_000_000
"""Longer than any answer takes that is kept."""
_AT_IT = 0
_PLACE = 'workspace = :workspace AND principal = :principal AND "key" = :key'

_begin = Statement.insert(kept_answer, otherwise='ON CONFLICT (workspace, principal, "key") DO NOTHING')
_find = Statement(f'SELECT request_digest, status, headers, body, "at" FROM kept_answer WHERE {_PLACE}')  # noqa: S608 - a constant
_take_over = Statement(f'UPDATE kept_answer SET "at" = :now WHERE {_PLACE} AND status = 0 AND "at" = :before')  # noqa: S608 - a constant
_finish = Statement(
    f'UPDATE kept_answer SET status = :status, headers = :headers, body = :body WHERE {_PLACE} AND status = 0 AND "at" = :begun_at'  # noqa: S608 - a constant
)
_drop = Statement(f'DELETE FROM kept_answer WHERE {_PLACE} AND status = 0 AND "at" = :begun_at')  # noqa: S608 - a constant
_forget = Statement('DELETE FROM kept_answer WHERE "at" < :before')


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request under a key: `digest` is of all that it says."""

    workspace: str
    principal: str
    key: str
    digest: str
    at: int

    @property
    def place(self) -> dict[str, str]:
        return {"workspace": self.workspace, "principal": self.principal, "key": self.key}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class StillBusy(InvalidInput):
    """The same request is being answered at this moment."""


def begin(connection: Connection, asked: Asked) -> KeptAnswer | None:
    """The answer that is to be given again; None: the request is to be done, and nobody else does it meanwhile.

    :raises InvalidInput: the key stands for another request.
    :raises StillBusy: somebody is at it.
    """
    if _begin(connection, **asked.place, request_digest=asked.digest, status=_AT_IT, headers="{}", body=b"", at=asked.at):
        return None
    row = _find.first(connection, **asked.place)
    if row is None:
        raise StillBusy("the request of this Idempotency-Key has just failed; send it again")
    digest, status, headers, body, at = row
    if digest != asked.digest:
        raise InvalidInput("the Idempotency-Key stands for another request of yours, with another body or path; choose a new one")
    if status != _AT_IT:
        return KeptAnswer(status=status, headers=json.loads(headers), body=bytes(body))
    if at > asked.at - BUSY_MICROSECONDS or not _take_over(connection, **asked.place, now=asked.at, before=at):
        raise StillBusy("the request of this Idempotency-Key is being answered; ask again in a moment")
    return None


def finish(connection: Connection, asked: Asked, answer: KeptAnswer) -> None:
    """Keeps the answer."""
    _finish(connection, **asked.place, begun_at=asked.at, status=answer.status, headers=json.dumps(dict(answer.headers)), body=answer.body)


def drop(connection: Connection, asked: Asked) -> None:
    """It came to nothing: the same key may be tried again at once."""
    _drop(connection, **asked.place, begun_at=asked.at)


def forget_answers(connection: Connection, before: int) -> int:
    """Those that are older; how many."""
    return _forget(connection, before=before)
