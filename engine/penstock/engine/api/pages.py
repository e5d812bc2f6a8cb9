"""Pages of lists. Each answer says in `next` where the following one begins; null is the end. What comes in between moves no page."""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import BaseModel

from penstock.contracts.encoding import canonical
from penstock.contracts.errors import InvalidInput
from penstock.engine.api.services import json_answer

Part = str | int

PAGE = 100
LARGEST_PAGE = 1000
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="So many at most.")]
Cursor = Annotated[str | None, Query(max_length=2000, description="What `next` of the page before said.")]


def cursor_at(*place: Part) -> str:
    """The cursor of what comes behind `place`, the key of the last entry."""
    return base64.urlsafe_b64encode(canonical(list(place))).decode().rstrip("=")


def place_of(cursor: str | None, *kinds: type[Part]) -> tuple[Any, ...] | None:
    """Where a page begins: behind the key that the cursor holds; None at the beginning of the list.

    :raises InvalidInput: it is no cursor of such a list.
    """
    if cursor is None:
        return None
    found: list[Any] = []
    try:
        match json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))):
            case [*parts]:
                found = parts
            case _:
                pass
    except (ValueError, binascii.Error, RecursionError):
        pass
    if [type(part) for part in found] != list(kinds):
        raise InvalidInput("that is no cursor of this list: give what `next` of an earlier page said, or none")
    if any(isinstance(part, int) and not -(2**63) <= part < 2**63 for part in found):
        raise InvalidInput("that is no cursor of this list: a number in it is too large")
    return tuple(found)


def page(name: str, entries: Sequence[tuple[tuple[Part, ...], BaseModel]], limit: int) -> Response:
    """The first `limit` of `entries`, of which one more was looked for: the key that the list is ordered by, and the view."""
    shown = entries[:limit]
    following = cursor_at(*shown[-1][0]) if len(entries) > limit else None
    return json_answer({name: [view.model_dump(mode="json") for _, view in shown], "next": following})
