"""What a look at data makes of what was seen before: what is remembered now, and which events are told. Pure.

An object is pending while its mark is not the one that was told last. Objects that were there when the looking began count as told. One
that goes away is no event, and if it comes back as it was, neither is that.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.encoding import canonical, digest_of
from penstock.contracts.triggers import OnDataSource
from penstock.transport.datastore import FoundObject, mark_of

OBJECT_CHANGED = "penstock.data.object.changed"
SETTLED = "penstock.data.settled"
PREFIX_CHANGED = "penstock.data.prefix.changed"
AT_ONCE = 500
"""Objects that one look tells of; the rest is told by the next one, which follows at once."""
GONE = -1
"""The size of an object that is not there any more."""
REMEMBERED = 30 * 24 * 3600 * 1_000_000
"""So long, in microseconds, an object that is gone is known, should it come back as it was."""
_SECOND = 1_000_000
_ID_LIMIT = 255
_BATCH_BYTES = 96 * 1024
"""What the names and marks in one event of a batch come to; a greater batch is told in several."""

Per = Literal["object", "batch", "prefix"]


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as the last look knew it. `since`: when a look first found it so, by our clock; `told`: the mark that was told last."""

    uri: str
    mark: str
    size: int
    since: int
    told: str

    @property
    def is_pending(self) -> bool:
        return self.size != GONE and self.mark != self.told


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A look at the source number `member` of a trigger, whose events are from `name`. `on_since`: when the looking began, if this is the
    first look; what is older is not told."""

    source: OnDataSource
    per: Per
    name: str
    member: int
    now: int
    on_since: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """`kept` are rows to be written, `forgotten` URIs whose rows go; `next_at` is when to look again."""

    kept: Sequence[Seen]
    forgotten: Sequence[str]
    events: Sequence[CloudEvent]
    next_at: int


def changes(look: Look, before: Mapping[str, Seen], found: Sequence[FoundObject]) -> Changes:
    """What this look makes of what it found."""
    after = {one.uri: _seen(look, before.get(one.uri), one) for one in found}
    gone = {uri: seen for uri, seen in before.items() if uri not in after}
    forgotten = [uri for uri, seen in gone.items() if seen.size == GONE and look.now - seen.since > REMEMBERED]
    left = {uri: seen if seen.size == GONE else replace(seen, size=GONE, since=look.now) for uri, seen in gone.items()}
    told, events, next_at = _told(look, after, {one.uri: one for one in found})
    now_known = left | after | {one.uri: replace(one, told=one.mark) for one in told}
    kept = [seen for uri, seen in now_known.items() if before.get(uri) != seen and uri not in set(forgotten)]
    return Changes(kept=kept, forgotten=forgotten, events=events, next_at=next_at)


def _seen(look: Look, before: Seen | None, found: FoundObject) -> Seen:
    if before is not None and before.size != GONE and before.mark == found.mark:
        seen = replace(before, size=found.size)
    else:
        seen = Seen(found.uri, found.mark, found.size, look.now, "" if before is None else before.told)
    is_old = look.on_since is not None and _is_older(found.changed_at, look.on_since)
    return replace(seen, told=found.mark) if is_old else seen


def _is_older(changed_at: int, moment: int) -> bool:
    """Where the datastore tells whole seconds, what changed in that very second counts as later: rather a run too many than one too few."""
    return changed_at < (moment - moment % _SECOND if changed_at % _SECOND == 0 else moment)


def _told(look: Look, after: Mapping[str, Seen], found: Mapping[str, FoundObject]) -> tuple[Sequence[Seen], list[CloudEvent], int]:
    """The objects that are told now, the events that tell of them, and when to look again."""
    regular = look.now + int(look.source.poll_seconds * _SECOND)
    pending = sorted((seen for seen in after.values() if seen.is_pending), key=lambda seen: seen.uri)
    if look.per == "object":
        ready = [seen for seen in pending if _is_whole(look, seen, found[seen.uri])]
        told = ready[:AT_ONCE]
        events = [_object_changed(look, seen, found[seen.uri]) for seen in told]
        if len(ready) > len(told):
            return told, events, look.now
        waiting = [seen.since for seen in pending if seen not in ready]
        return told, events, min([regular, *(since + _settle(look) for since in waiting)])
    if not pending:
        return [], [], regular
    settled_at = max(seen.since for seen in pending) + _settle(look)
    if look.now < settled_at:
        return [], [], min(regular, settled_at)
    if look.per == "prefix":
        return pending, [_prefix_changed(look, found.values())], regular
    return pending, list(_settled(look, pending)), regular


def _settle(look: Look) -> int:
    return int(look.source.settle_seconds * _SECOND)


def _is_whole(look: Look, seen: Seen, found: FoundObject) -> bool:
    """Objects appear whole in a bucket; a file in a folder may still be written, until nothing has changed it for a while."""
    if not seen.uri.startswith("file://"):
        return True
    return look.now - seen.since >= _settle(look) or look.now - found.changed_at >= _settle(look)


def _object_changed(look: Look, seen: Seen, found: FoundObject) -> CloudEvent:
    data = {"uri": seen.uri, "mark": seen.mark, "size": found.size, "member": look.member}
    return _event(look, OBJECT_CHANGED, f"{seen.uri}#{seen.mark}", data, subject=seen.uri)


def _prefix_changed(look: Look, found: Iterable[FoundObject]) -> CloudEvent:
    uri, mark = folder_of(look.source.uri), mark_of(found)
    return _event(look, PREFIX_CHANGED, f"{uri}#{mark}", {"uri": uri, "mark": mark, "member": look.member}, subject=uri)


def _settled(look: Look, pending: Sequence[Seen]) -> Iterable[CloudEvent]:
    parts = _parts(pending)
    for number, part in enumerate(parts):
        marks = {seen.uri: seen.mark for seen in part}
        data: dict[str, Any] = {"uris": list(marks), "marks": marks, "member": look.member}
        if len(parts) > 1:
            data |= {"part": number + 1, "parts": len(parts)}
        yield _event(look, SETTLED, f"{look.source.uri}#{digest_of(marks)}", data, subject=look.source.uri)


def _parts(pending: Sequence[Seen]) -> list[list[Seen]]:
    parts: list[list[Seen]] = [[]]
    size = 0
    for seen in pending:
        size += len(canonical([seen.uri, seen.mark]))
        if parts[-1] and size > _BATCH_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(seen)
    return parts


def _event(look: Look, kind: str, identity: str, data: Mapping[str, Any], subject: str) -> CloudEvent:
    fits = identity.isprintable() and len(identity) <= _ID_LIMIT
    return CloudEvent(
        id=identity if fits else digest_of(identity),
        source=look.name,
        type=kind,
        subject=subject,
        datacontenttype="application/json",
        data=dict(data),
    )


def folder_of(uri: str) -> str:
    """The prefix that a URI stands for as a whole, ending in `/`: of wildcards, the folder that holds all that they fit."""
    parts = uri.removesuffix("/").split("/")
    plain = next((number for number, part in enumerate(parts) if "*" in part or "?" in part), len(parts))
    return "/".join(parts[:plain]) + "/"
