"""The store: the state database, the truth about every run. Adapters are in `stores/`."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


class Store(Protocol):
    """Promised: `transaction` commits all that `function` did or nothing; once it returns, that is durable; of transactions that lock the
    same run (`locks`), one waits for the other. Not promised: that a raised `StoreUnavailable` means that nothing was committed, and that
    `function` is called only once."""

    @property
    def is_concurrent(self) -> bool:
        """Whether transactions run side by side. Dispatch can be one of its own then, and never waits for a run."""
        ...

    async def transaction(self, function: Callable[[Connection], T]) -> T:
        """Calls `function` in a transaction.

        :raises StoreUnavailable: the store can't be reached or written (a full disk, say).
        """
        ...

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Calls `function`, which only reads, on one consistent state.

        :raises StoreUnavailable: the store can't be reached.
        """
        ...

    async def close(self) -> None: ...
