"""Events are kept: each once, by who it is from and what it is called. Another body under the same name is a conflict, kept beside it."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.contracts.cloud_events import CloudEvent, ReceivedEvent, encode_cloud_event
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.messages import clean_text
from penstock.engine.locks import has_neighbours
from penstock.engine.statement import Statement

AT_ONCE = 4 * 1024 * 1024
"""Bytes of events that one statement takes in."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_find = Statement(
    "SELECT e.event_no, e.workspace, e.source, e.id, e.digest FROM elements(:wanted) w CROSS JOIN looked_up(e) event e "
    "WHERE e.workspace = text_part_of(w, 0) AND e.source = text_part_of(w, 1) AND e.id = text_part_of(w, 2) so_far(e)"
)
_COLUMNS = (
    'workspace, source, id, "type", subject, "time", received_at, via, sender, digest, body, hops, correlation_id, causation_id, state, '
    "replays, tries"
)
_VALUES = (
    "text_part_of(w, 0), text_part_of(w, 1), text_part_of(w, 2), text_part_of(w, 3), text_part_of(w, 4), text_part_of(w, 5), "
    "part_of(w, 6), text_part_of(w, 7), text_part_of(w, 8), text_part_of(w, 9), text_part_of(w, 10), part_of(w, 11), "
    "text_part_of(w, 12), text_part_of(w, 13), :state, 0, 0"
)
_OTHERWISE = "ON CONFLICT (workspace, source, id) DO NOTHING"
_insert = Statement(f"INSERT INTO event ({_COLUMNS}) SELECT {_VALUES} FROM elements(:rows) w WHERE 1 = 1 {_OTHERWISE}")  # noqa: S608 - constants
# Numbered in their order, written in the order of their names: of two that keep the same events at one time, one waits for the other, and
# never both.
_insert_beside_others = Statement(
    f"INSERT INTO event (event_no, {_COLUMNS}) SELECT w.number, {_VALUES} FROM (SELECT value, "  # noqa: S608 - constants
    "nextval(pg_get_serial_sequence('event', 'event_no')) AS number FROM elements(:rows) e) w "
    f"ORDER BY text_part_of(w, 0), text_part_of(w, 1), text_part_of(w, 2) {_OTHERWISE} RETURNING event_no"
)
_put_conflict = Statement(
    "INSERT INTO event_conflict (event_no, digest, body, received_at) VALUES (:event_no, :digest, :body, :received_at) "
    "ON CONFLICT DO NOTHING"
)

_last = Statement("SELECT max(event_no) FROM event")
# Numbers may be left out: of what was there already.
_since = Statement("SELECT event_no FROM event WHERE event_no > :before ORDER BY event_no")

Identity = tuple[str, str, str]
"""Workspace, source and id."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of an event that was received: its number; whether it was not known; whether another body is known by its name."""

    event_no: int
    is_new: bool
    is_conflict: bool


@dataclass(frozen=True, slots=True)
class _Row:
    received: ReceivedEvent
    body: str
    digest: str

    @property
    def identity(self) -> Identity:
        return self.received.workspace, self.received.event.source, self.received.event.id


def store_events(connection: Connection, received: Sequence[ReceivedEvent]) -> list[Stored]:
    """Keeps each of these, in their order; the same again changes nothing. What is kept as new is to be decided."""
    return _stored(connection, [_row(one) for one in received], "new")


def store_decided(connection: Connection, received: Sequence[ReceivedEvent]) -> list[Stored]:
    """As `store_events`, for who decides those that are new in the same transaction."""
    return _stored(connection, [_row(one) for one in received], "done")


def _stored(connection: Connection, rows: Sequence[_Row], state: str) -> list[Stored]:
    if not rows:
        return []
    first = {row.identity: row for row in reversed(rows)}
    wanted = [row for row in rows if first[row.identity] is row]
    numbers = _inserted(connection, wanted, state)
    if len(numbers) == len(wanted):
        known = {row.identity: (number, row.digest) for row, number in zip(wanted, numbers, strict=True)}
    else:
        known = {identity: (event_no, digest) for event_no, identity, digest in _found(connection, wanted)}
    new = set(numbers)
    stored: list[Stored] = []
    for row in rows:
        event_no, digest = known[row.identity]
        # Of two with the same name in one batch, the first is the new one.
        stored.append(Stored(event_no, event_no in new, digest != row.digest))
        new.discard(event_no)
    _note_conflicts(connection, [(one.event_no, row) for row, one in zip(rows, stored, strict=True) if one.is_conflict])
    return stored


def _note_conflicts(connection: Connection, conflicts: Sequence[tuple[int, _Row]]) -> None:
    _put_conflict.many(
        connection,
        [
            {"event_no": event_no, "digest": row.digest, "body": row.body, "received_at": row.received.received_at}
            for event_no, row in conflicts
        ],
    )


def causation_of(event: CloudEvent) -> str | None:
    """The event or run that this one followed from, if it says so."""
    named = event.extensions.get("causationid")
    return None if named is None else clean_text(str(named), 1024)


def event_of(body: str) -> CloudEvent:
    """The event that was kept as `body`."""
    plain = json.loads(body)
    del plain["specversion"]
    known = {name: plain.pop(name) for name in CloudEvent.model_fields if name in plain}
    return CloudEvent(**known, extensions=plain)


def _row(received: ReceivedEvent) -> _Row:
    data = encode_cloud_event(received.event)
    # Text that databases keep; half a character can't be, as JSON it can.
    body = _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", data.decode("utf-8", "surrogatepass"))
    return _Row(received, body, digest_bytes(data))


def _found(connection: Connection, rows: Sequence[_Row]) -> Iterator[tuple[int, Identity, str]]:
    if rows:
        wanted = json.dumps(list(dict.fromkeys(row.identity for row in rows)))
        for event_no, workspace, source, identity, digest in _find.rows(connection, wanted=wanted):
            yield event_no, (workspace, source, identity), digest


def _inserted(connection: Connection, rows: Sequence[_Row], state: str) -> list[int]:
    """The numbers of those that were not there, which follow their order. Whoever else keeps one of them at this moment is waited for."""
    if has_neighbours(connection):
        chunks = (_insert_beside_others.rows(connection, rows=_packed(chunk), state=state) for chunk in _chunks(rows))
        return sorted(row[0] for numbers in chunks for row in numbers)
    before = _last.number(connection)
    for chunk in _chunks(rows):
        _insert(connection, rows=_packed(chunk), state=state)
    return [row[0] for row in _since.rows(connection, before=before)]


def _packed(rows: Sequence[_Row]) -> str:
    return json.dumps([_values(row) for row in rows])


def _chunks(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    chunk: list[_Row] = []
    size = 0
    for row in rows:
        if chunk and size + len(row.body) > AT_ONCE:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row.body)
    if chunk:
        yield chunk


def _values(row: _Row) -> list[str | int | None]:
    received, event = row.received, row.received.event
    subject = None if event.subject is None else clean_text(event.subject, 1024)
    time = None if event.time is None else clean_text(event.time, 64)
    correlation = clean_text(event.correlation_id, 1024)
    kept = (received.received_at, received.via, clean_text(received.sender, 1024), row.digest, row.body, min(event.hops, 1_000_000))
    return [*row.identity, event.type, subject, time, *kept, correlation, causation_of(event)]
