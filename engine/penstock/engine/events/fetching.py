"""Data that events name is brought into the artifact store before the run is made, outside of every transaction."""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from penstock.contracts.artifacts import DirectoryManifest, ListValue, Value, refs_in
from penstock.contracts.errors import ContractError, PenstockError, StoreUnavailable
from penstock.engine.events.records import Decided
from penstock.engine.events.start_rows import Start
from penstock.engine.events.starts import LEASE_MICROSECONDS, Parts, fetched, has_fetches, lease_fetches, not_fetched, renew_lease
from penstock.engine.events.triggers import workspace_of
from penstock.engine.store import Store
from penstock.engine.triggers.mapping import Fetch
from penstock.transport.artifact_store import ArtifactStore
from penstock.transport.datastore import Datastores

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.events")

AT_ONCE = 4
"""Starts whose data one process fetches at the same time."""


class Fetching:
    """At most one round goes on at a time."""

    def __init__(
        self, store: Store, datastores: Datastores, artifacts: ArtifactStore, now: Callable[[], int], owner: str | None = None
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._datastores = datastores
        self._now = now
        self._owner = owner
        self._round: asyncio.Task[None] | None = None

    def start(self, tasks: asyncio.TaskGroup, tell: Callable[[Decided], None]) -> None:
        """Begins a round, where none goes on. `tell` hears what was decided."""
        if self._round is None or self._round.done():
            self._round = tasks.create_task(self._fetch_all(tell))

    def stop(self) -> None:
        """What is being fetched is fetched again, by whoever serves then."""
        if self._round is not None:
            self._round.cancel()

    async def _fetch_all(self, tell: Callable[[Decided], None]) -> None:
        """Fetches until there is nothing left that is due."""
        try:
            while await self._store.read(lambda connection: has_fetches(connection, self._now())):
                starts = await self._store.transaction(lambda connection: lease_fetches(connection, self._now(), AT_ONCE))
                await asyncio.gather(*(self._fetch(start, tell) for start in starts))
        except StoreUnavailable as error:
            log.warning("store.unavailable", reason=str(error))
        except Exception:
            # What it had in hand is found in the rows when its lease is over.
            log.exception("events.fetching_failed")

    async def _fetch(self, start: Start, tell: Callable[[Decided], None]) -> None:
        keeping = asyncio.create_task(self._keep_lease(start))
        try:
            workspace = await self._store.read(lambda connection: workspace_of(connection, start.trigger_no))
            datastores = self._datastores.of(workspace)
            values = {name: await _taken(datastores, wanted) for name, wanted in start.fetches.items()}
            parts = await self._parts(values.values())
        except PenstockError as error:
            log.warning("data.not_fetched", reason=str(error), trigger_no=start.trigger_no)
            await self._give_up(start, str(error), tell, is_final=isinstance(error, ContractError))
        except Exception as error:
            # Else it would be fetched again for good, and nobody would be told.
            log.exception("data.not_fetched", trigger_no=start.trigger_no)
            await self._give_up(start, f"internal error, please report it: {error!r}", tell, is_final=False)
        else:
            tell(await self._store.transaction(lambda connection: fetched(connection, start, values, parts, self._now(), self._owner)))
        finally:
            keeping.cancel()

    async def _give_up(self, start: Start, reason: str, tell: Callable[[Decided], None], *, is_final: bool) -> None:
        """Leaves it for later; after some tries, or where it `is_final`, until somebody asks for it."""
        tell(await self._store.transaction(lambda connection: not_fetched(connection, start, reason, self._now(), is_final=is_final)))

    async def _parts(self, values: Iterable[Value]) -> Parts:
        """Kind and size by digest of all that was brought in, files of directories among it."""
        parts: dict[str, tuple[str, int]] = {}
        for ref in (ref for value in values for ref in refs_in(value)):
            parts[ref.digest] = (ref.kind, ref.size)
            if ref.kind == "directory":
                manifest = DirectoryManifest.model_validate_json((await self._artifacts.local(ref.digest)).read_bytes())
                parts |= {entry.digest: ("blob", entry.size) for entry in manifest.files}
        return parts

    async def _keep_lease(self, start: Start) -> None:
        while True:
            await asyncio.sleep(LEASE_MICROSECONDS / 3_000_000)
            await self._store.transaction(lambda connection: renew_lease(connection, start, self._now()))


async def _taken(datastores: Datastores, wanted: Fetch | tuple[Fetch, ...]) -> Value:
    if isinstance(wanted, Fetch):
        return await datastores.take(wanted.uri, wanted.kind, wanted.mark)
    return ListValue(list=tuple([await datastores.take(one.uri, one.kind, one.mark) for one in wanted]))
