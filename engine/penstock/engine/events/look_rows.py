"""Looks at data as rows: when the next one is due, who does it, what was seen. A look is claimed for a while, and what comes of it counts
only while it is; so of several coordinators one looks, and after a crash another one does."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection

from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.triggers import OnDataSource, TriggerSpec
from penstock.engine.events.bucket_notifications import TYPE_PREFIX
from penstock.engine.events.data_changes import Seen, folder_of
from penstock.engine.events.triggers import spec_of
from penstock.engine.statement import Statement
from penstock.transport.data_addresses import fits

ROWS_AT_ONCE = 2000
HINT_PAUSE = 1_000_000
"""Microseconds between two looks at the same data, however often somebody says that there may be something new."""
_COLUMNS = "c.trigger_no, c.member, c.last_at, c.next_at, t.workspace, t.name, t.pipeline, t.definition"
_LIVE = (
    "FROM trigger_clock c JOIN trigger_version t ON t.trigger_no = c.trigger_no "
    "LEFT JOIN data_look l ON l.trigger_no = c.trigger_no AND l.member = c.member WHERE t.state IN ('on', 'paused')"
)
_due = Statement(f"SELECT {_COLUMNS} {_LIVE} AND c.next_at <= :now AND coalesce(l.claimed_until, 0) <= :now ORDER BY c.next_at")
_of_workspace = Statement(f"SELECT {_COLUMNS} {_LIVE} AND t.workspace = :workspace ORDER BY c.trigger_no, c.member")
_nexts = Statement(
    f"SELECT CASE WHEN l.claimed_until > c.next_at THEN l.claimed_until ELSE c.next_at END, c.member, t.definition {_LIVE} ORDER BY 1"
)
_claim = Statement(
    "INSERT INTO data_look (trigger_no, member, claimed_until, hinted_at, looked_at, objects) "
    "VALUES (:trigger_no, :member, :until, 0, NULL, 0) "
    "ON CONFLICT (trigger_no, member) DO UPDATE SET claimed_until = excluded.claimed_until WHERE data_look.claimed_until <= :now"
)
_is_due = Statement("SELECT 1 FROM trigger_clock WHERE trigger_no = :trigger_no AND member = :member AND next_at = :next_at")
_unclaim = Statement("UPDATE data_look SET claimed_until = 0 WHERE trigger_no = :trigger_no AND member = :member")
_begin_anew = Statement("UPDATE data_look SET looked_at = NULL WHERE trigger_no = :trigger_no AND member = :member")
_looked = Statement("SELECT looked_at FROM data_look WHERE trigger_no = :trigger_no AND member = :member")
_release = Statement(
    "UPDATE data_look SET claimed_until = 0, looked_at = :looked_at, objects = :objects, trouble = :trouble "
    "WHERE trigger_no = :trigger_no AND member = :member AND claimed_until = :claimed"
)
_set_clock = Statement(
    "UPDATE trigger_clock SET last_at = :now, next_at = CASE WHEN EXISTS (SELECT 1 FROM data_look l WHERE l.trigger_no = :trigger_no "
    "AND l.member = :member AND l.hinted_at >= :now) THEN CAST(:early AS BIGINT) ELSE CAST(:next_at AS BIGINT) END "
    "WHERE trigger_no = :trigger_no AND member = :member"
)
_move_clock = Statement("UPDATE trigger_clock SET next_at = :next_at WHERE trigger_no = :trigger_no AND member = :member")
_hint = Statement("UPDATE data_look SET hinted_at = :now WHERE trigger_no = :trigger_no AND member = :member")
_hasten = Statement(
    "UPDATE trigger_clock SET next_at = greater_of(:now, last_at + :pause) "
    "WHERE trigger_no = :trigger_no AND member = :member AND next_at > greater_of(:now, last_at + :pause)"
)
_troubles = Statement("SELECT member, trouble FROM data_look WHERE trigger_no = :trigger_no AND trouble IS NOT NULL ORDER BY member")
_seen = Statement("SELECT uri, mark, size, since, told_mark FROM seen_object WHERE trigger_no = :trigger_no AND member = :member")
_keep = Statement(
    "INSERT INTO seen_object (trigger_no, member, uri, mark, size, since, told_mark) "
    "SELECT :trigger_no, :member, text_part_of(s, 0), text_part_of(s, 1), part_of(s, 2), part_of(s, 3), text_part_of(s, 4) "
    "FROM elements(:rows) s WHERE 1 = 1 ON CONFLICT (trigger_no, member, uri) DO UPDATE SET mark = excluded.mark, "
    "size = excluded.size, since = excluded.since, told_mark = excluded.told_mark"
)
_forget = Statement(
    "DELETE FROM seen_object WHERE trigger_no = :trigger_no AND member = :member AND uri IN (SELECT text_of(u) FROM elements(:uris) u)"
)
_untell = Statement("UPDATE seen_object SET told_mark = '' WHERE trigger_no = :trigger_no AND member = :member AND size >= 0")


@dataclass(frozen=True, slots=True)
class DueLook:
    """A source of a trigger that is to be looked at. `last_at`: the last look, or since when there is to be one. `next_at`: its claim."""

    trigger_no: int
    member: int
    last_at: int
    next_at: int
    workspace: str
    trigger: str
    pipeline: str
    spec: TriggerSpec
    source: OnDataSource

    @property
    def key(self) -> dict[str, int]:
        return {"trigger_no": self.trigger_no, "member": self.member}


def due_looks(connection: Connection, now: int) -> list[DueLook]:
    """Those whose time has come, the latest last."""
    return list(_looks(_due.rows(connection, now=now)))


def next_look_at(connection: Connection) -> int | None:
    """When the next look is due; None: there is none to come."""
    for next_at, member, definition in _nexts.rows(connection):
        if _source_of(definition, member) is not None:
            return int(next_at)
    return None


@dataclass(frozen=True, slots=True)
class Claim:
    """A look that this process does. `on_since`: since when there was to be a first one, if this is it."""

    until: int
    looked_at: int | None
    on_since: int | None


def claim(connection: Connection, look: DueLook, now: int, until: int) -> Claim | None:
    """Has this process do the look, nobody else until then; None: somebody does or did."""
    if not _claim(connection, **look.key, now=now, until=until):
        return None
    if not _is_due.first(connection, **look.key, next_at=look.next_at):
        _unclaim(connection, **look.key)
        return None
    if look.last_at == look.next_at:
        # So clocks are when a trigger is switched on, whatever was seen before.
        _begin_anew(connection, **look.key)
    looked = _looked.number(connection, **look.key)
    return Claim(until, looked or None, None if looked else look.last_at)


def seen_objects(connection: Connection, look: DueLook) -> dict[str, Seen]:
    """By URI."""
    return {row[0]: Seen(*row) for row in _seen.rows(connection, **look.key)}


def finish(connection: Connection, look: DueLook, claimed: Claim, now: int, next_at: int, objects: int) -> bool:
    """Whether what came of the look counts: the claim is not over. Hinted at meanwhile, the next look is soon."""
    if not _release(connection, **look.key, claimed=claimed.until, looked_at=now, objects=objects, trouble=None):
        return False
    _set_clock(connection, **look.key, now=now, next_at=max(next_at, now + 1), early=now + HINT_PAUSE)
    return True


def fail(connection: Connection, look: DueLook, claimed: Claim, next_at: int, trouble: str) -> None:
    """A look that found out nothing; the first one is still to come then."""
    if _release(connection, **look.key, claimed=claimed.until, looked_at=claimed.looked_at, objects=0, trouble=trouble):
        _move_clock(connection, **look.key, next_at=next_at)


def keep_seen(connection: Connection, look: DueLook, kept: Sequence[Seen], forgotten: Sequence[str]) -> None:
    for start in range(0, len(kept), ROWS_AT_ONCE):
        rows = [[one.uri, one.mark, one.size, one.since, one.told] for one in kept[start : start + ROWS_AT_ONCE]]
        _keep(connection, **look.key, rows=json.dumps(rows))
    if forgotten:
        _forget(connection, **look.key, uris=json.dumps(list(forgotten)))


def hint(connection: Connection, workspace: str, uris: Iterable[str], now: int) -> int:
    """Somebody says that these objects may have changed: has whatever looks at them look now. Gives how many will."""
    named = list(uris)
    hinted = [look for look in _looks(_of_workspace.rows(connection, workspace=workspace)) if _is_about(look, named)]
    for look in hinted:
        _look_soon(connection, look, now)
    return len(hinted)


def hint_by(connection: Connection, workspace: str, events: Iterable[CloudEvent], now: int) -> None:
    """As `hint`, of objects that notifications of buckets are about. What they say of them is not believed: they are looked at."""
    uris = [uri for event in events if event.type.startswith(TYPE_PREFIX) and (uri := _uri_in(event.data)) is not None]
    if uris:
        hint(connection, workspace, uris, now)


def _uri_in(data: Any) -> str | None:
    match data:
        case {"uri": str(uri)}:
            return uri
        case _:
            return None


def tell_existing(connection: Connection, workspace: str, trigger: str, now: int) -> int:
    """Has the next look, which is soon, tell of all objects that are there, as if they had just come. Gives how many sources it has."""
    looks = [look for look in _looks(_of_workspace.rows(connection, workspace=workspace)) if look.trigger == trigger]
    for look in looks:
        _untell(connection, **look.key)
        _look_soon(connection, look, now)
    return len(looks)


def _look_soon(connection: Connection, look: DueLook, now: int) -> None:
    _hint(connection, **look.key, now=now)
    if look.next_at > look.last_at:  # else it is the first one, which is due
        _hasten(connection, **look.key, now=now, pause=HINT_PAUSE)


def _is_about(look: DueLook, uris: Iterable[str]) -> bool:
    folder = folder_of(look.source.uri)
    return any(fits(look.source.uri, uri) or (look.source.per != "object" and uri.startswith(folder)) for uri in uris)


def troubles_of(connection: Connection, trigger_no: int) -> Mapping[int, str]:
    """By source of the trigger: why the last look found out nothing."""
    return {row[0]: row[1] for row in _troubles.rows(connection, trigger_no=trigger_no)}


def _source_of(definition: str, member: int) -> tuple[TriggerSpec, OnDataSource] | None:
    """None: it is no data; or nobody can read it, which is told where the trigger decides."""
    try:
        spec = spec_of(definition)
        source = spec.sources[member]
    except (ValidationError, IndexError):
        return None
    return (spec, source) if isinstance(source, OnDataSource) else None


def _looks(rows: Iterable[tuple[Any, ...]]) -> Iterable[DueLook]:
    for trigger_no, member, last_at, next_at, workspace, trigger, pipeline, definition in rows:
        found = _source_of(definition, member)
        if found is not None:
            yield DueLook(trigger_no, member, last_at, next_at, workspace, trigger, pipeline, *found)
