"""Watching data: what `OnData` triggers wait for is looked at when it is due, and every change becomes one event.

The objects are listed outside of any transaction; what was seen and the events are then written in one, or not at all. A crash before that
has another coordinator look again once the claim is over.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from penstock.contracts.cloud_events import CloudEvent, ReceivedEvent
from penstock.contracts.errors import ContractError, DatastoreUnavailable, InvalidInput, StoreUnavailable
from penstock.contracts.messages import clean_text
from penstock.engine.core.plan import plan_of
from penstock.engine.events.data_changes import Look, Per, changes, folder_of
from penstock.engine.events.intake import store_events
from penstock.engine.events.look_rows import (
    Claim,
    DueLook,
    claim,
    due_looks,
    fail,
    finish,
    keep_seen,
    next_look_at,
    seen_objects,
)
from penstock.engine.published.versions import resolve, spec_bytes
from penstock.engine.store import Store
from penstock.engine.triggers.mapping import told_per
from penstock.transport.datastore import Datastores, FoundObject

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.watching")

CLAIM_SECONDS = 120.0
"""After so long a look is given up, and another coordinator does it."""
AT_ONCE = 4
_SECOND = 1_000_000
_LONGEST_WAIT_SECONDS = 1.0
_TROUBLE_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A look of this process, and what kind of event is told of it."""

    due: DueLook
    claim: Claim
    per: Per


class Watch:
    """`told` hears that there are new events in the rows. Any number may serve one store."""

    def __init__(self, store: Store, datastores: Datastores, now: Callable[[], int], told: Callable[[], object]) -> None:
        self._store = store
        self._datastores = datastores
        self._now = now
        self._told = told

    async def run(self) -> None:
        """Looks whenever a look is due, until it is cancelled."""
        while True:
            try:
                next_at = await self._look_if_due()
            except StoreUnavailable as error:
                log.warning("store.unavailable", reason=str(error))
                next_at = None
            except Exception:
                # The next look may go better.
                log.exception("data.looking_failed")
                next_at = None
            wait = _LONGEST_WAIT_SECONDS if next_at is None else (next_at - self._now()) / _SECOND
            await asyncio.sleep(min(max(wait, 0.0), _LONGEST_WAIT_SECONDS))

    async def _look_if_due(self) -> int | None:
        next_at = await self._store.read(next_look_at)
        if next_at is None or next_at > self._now():
            return next_at
        await self.look(self._now())
        return await self._store.read(next_look_at)

    async def look(self, now: int) -> int:
        """Does every look that is due at `now` and that nobody else does. Gives the number of events that it made.

        :raises StoreUnavailable: the state can't be reached.
        """
        due = await self._store.read(lambda connection: due_looks(connection, now))
        free = asyncio.Semaphore(AT_ONCE)

        async def one(look: DueLook) -> int:
            async with free:
                return await self._look_at(look, now)

        made = sum(await asyncio.gather(*(one(look) for look in due)))
        if made:
            self._told()
        return made

    async def _look_at(self, due: DueLook, at: int) -> int:
        now = max(at, self._now())
        claimed = await self._store.transaction(lambda connection: _claimed(connection, due, now))
        if claimed is None:
            return 0
        found, trouble = await self._found(due, claimed.per)
        if found is None:
            log.warning("data.not_found_out", trigger=due.trigger, uri=due.source.uri, reason=trouble)
            next_at = now + int(due.source.poll_seconds * _SECOND)
            await self._store.transaction(lambda connection: fail(connection, due, claimed.claim, next_at, trouble))
            return 0
        return await self._store.transaction(lambda connection: _written(connection, claimed, found, now))

    async def _found(self, due: DueLook, per: Per) -> tuple[list[FoundObject] | None, str]:
        """The objects; or None, and why they can't be known."""
        uri = folder_of(due.source.uri) if per == "prefix" else due.source.uri
        try:
            return await self._datastores.of(due.workspace).find(uri), ""
        except (DatastoreUnavailable, InvalidInput) as error:
            return None, clean_text(str(error), _TROUBLE_LIMIT)
        except Exception as error:
            # Whatever is odd about one place must not keep the others from being looked at.
            log.exception("data.look_failed", trigger=due.trigger)
            return None, f"{uri} can't be looked at: {type(error).__name__}; see the coordinator's log"


def _claimed(connection: Connection, due: DueLook, now: int) -> _Claimed | None:
    found = claim(connection, due, now, now + int(CLAIM_SECONDS * _SECOND))
    return None if found is None else _Claimed(due, found, _per(connection, due))


def _written(connection: Connection, claimed: _Claimed, found: Sequence[FoundObject], now: int) -> int:
    due = claimed.due
    look = Look(
        source=due.source,
        per=claimed.per,
        name=source_of(due.workspace, due.trigger),
        member=due.member,
        now=now,
        on_since=claimed.claim.on_since,
    )
    made = changes(look, seen_objects(connection, due), found)
    if not finish(connection, due, claimed.claim, now, made.next_at, len(found)):
        return 0
    keep_seen(connection, due, made.kept, made.forgotten)
    _store(connection, due, made.events, now)
    if made.events:
        log.info("data.changed", trigger=due.trigger, uri=due.source.uri, objects=len(found), events=len(made.events))
    return len(made.events)


def _store(connection: Connection, due: DueLook, events: Sequence[CloudEvent], now: int) -> None:
    stored = store_events(connection, [_received(due, event, now) for event in events])
    # What has become again what it once was has changed all the same; under its name there is an event already.
    again = [event for event, known in zip(events, stored, strict=True) if not known.is_new]
    renamed = [event.model_copy(update={"id": f"{event.id[:230]}@{now}"}) for event in again]
    store_events(connection, [_received(due, event, now) for event in renamed])


def _received(due: DueLook, event: CloudEvent, now: int) -> ReceivedEvent:
    return ReceivedEvent(workspace=due.workspace, via="data", event=event, received_at=now)


def source_of(workspace: str, trigger: str) -> str:
    """From whom a trigger's own events are."""
    return f"/penstock/{workspace}/triggers/{trigger}"


def _per(connection: Connection, due: DueLook) -> Per:
    """What one event is about: as the trigger says, or as the parameter has it that the data goes to."""
    if due.source.per is not None:
        return due.source.per
    try:
        resolved = resolve(connection, due.workspace, due.spec.pipeline)
        return told_per(due.source, due.spec, plan_of(spec_bytes(connection, due.workspace, resolved.spec_digest)).spec)
    except ContractError:
        return "object"  # of which no run is made, as its decision will tell
