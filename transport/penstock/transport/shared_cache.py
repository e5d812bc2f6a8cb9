"""Cache entries that many engines share, beside the artifacts they name. Adapters are in `shared_caches/`."""

import re
from collections.abc import Iterable
from typing import Protocol

from penstock.contracts.errors import ContractError
from penstock.contracts.names import checked_name

_KEY = re.compile(r"[0-9a-f]{64}")


class SharedCache(Protocol):
    """Promised: an entry is visible whole or not at all, and is the same for everyone who sees it soon after it was put. Not promised:
    that the first of two entries put under one key at once is the one that stays; that an entry is well-formed: others wrote it.
    """

    async def get_many(self, workspace: str, keys: Iterable[str]) -> dict[str, bytes]:
        """The entries that are there, by key.

        :raises StoreUnavailable: nothing can be said of them now.
        """
        ...

    async def put(self, workspace: str, key: str, data: bytes) -> None:
        """Stores an entry, unless one is there.

        :raises StoreUnavailable: whether it is stored is unknown.
        """
        ...


def entry_path(workspace: str, key: str) -> str:
    """`cache/<workspace>/<key>`, of which no part leads elsewhere.

    :raises ContractError: no workspace, or no cache key.
    """
    if not _KEY.fullmatch(key):
        raise ContractError(f"{key[:80]!r} is not a cache key; one has 64 hexadecimal digits")
    return f"cache/{checked_name(workspace, 'workspace')}/{key}"
