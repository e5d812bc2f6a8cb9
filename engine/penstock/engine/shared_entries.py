"""Cache entries of other engines that use the same artifact store: asked for where this one's rows know nothing, written after a commit."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from penstock.contracts.artifacts import Value
from penstock.contracts.cache_entries import SharedEntry, decode_entry, encode_entry
from penstock.contracts.errors import ContractError, StoreUnavailable
from penstock.engine.core.rows import unpack_values
from penstock.transport.shared_cache import SharedCache

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.cache")

_WRITES_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """An entry that a committed transaction made."""

    workspace: str
    key: str
    outputs: bytes
    made_at: int
    seconds: float
    run_name: str


class SharedEntries:
    """What this engine reads of, and writes to, a shared cache. It speeds things up and is needed for nothing: trouble is a miss."""

    def __init__(self, cache: SharedCache, *, writes: bool) -> None:
        self._cache = cache
        self._writes = writes
        self._slots = asyncio.Semaphore(_WRITES_AT_ONCE)

    async def find(self, workspace: str, key: str) -> SharedEntry | None:
        """What others know of a key."""
        try:
            data = (await self._cache.get_many(workspace, [key])).get(key)
            return decode_entry(data) if data is not None else None
        except (ContractError, StoreUnavailable) as error:
            log.warning("shared_cache.not_read", key=key, reason=str(error))
            return None

    async def publish(self, entries: Iterable[NewEntry]) -> None:
        """Lets others know."""
        if self._writes:
            await asyncio.gather(*(self._put(entry) for entry in entries))

    async def _put(self, new: NewEntry) -> None:
        outputs: dict[str, Value] = unpack_values(new.outputs)
        entry = SharedEntry(outputs=outputs, made_at=new.made_at, seconds=new.seconds, run_name=new.run_name)
        async with self._slots:
            try:
                await self._cache.put(new.workspace, new.key, encode_entry(entry))
            except StoreUnavailable as error:
                log.warning("shared_cache.not_written", key=new.key, reason=str(error))
