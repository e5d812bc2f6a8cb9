"""Starts as rows: a cause that is to become a run, or has. Of one cause there is one row, and so one run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import msgpack
from pydantic import TypeAdapter
from sqlalchemy import Connection

from penstock.contracts.artifacts import Value
from penstock.contracts.messages import clean_text
from penstock.engine import event_tables
from penstock.engine.events.records import REASON_LIMIT
from penstock.engine.statement import Statement
from penstock.engine.triggers.mapping import Fetch, Parameter

StartState = Literal["fetch", "queue", "again", "started", "skipped", "refused", "failed"]
_value: TypeAdapter[Value] = TypeAdapter(Value)
_COLUMNS = (
    "s.trigger_no, s.cause, s.event_nos, s.state, s.reason, s.run_id, s.key, s.parameters, s.spec_digest, s.tries, s.due_at, s.made_at"
)
_insert = Statement(
    'INSERT INTO trigger_start (trigger_no, cause, event_nos, state, reason, "key", parameters, spec_digest, tries, due_at, made_at) '
    "VALUES (:trigger_no, :cause, :event_nos, 'queue', '', :key, :parameters, :spec_digest, 0, :now, :made_at) ON CONFLICT DO NOTHING"
)
_find = Statement(f"SELECT {_COLUMNS} FROM trigger_start s WHERE s.trigger_no = :trigger_no AND s.cause = :cause locked(s)")  # noqa: S608 - constants
_write = Statement.insert(event_tables.trigger_start, otherwise="ON CONFLICT DO NOTHING")
_drop = Statement("DELETE FROM trigger_start WHERE trigger_no = :trigger_no AND cause = :cause AND run_id IS NULL")
_move = Statement(
    "UPDATE trigger_start SET state = :state, reason = :reason, run_id = :run_id, due_at = :due_at, tries = :tries, "
    "parameters = :parameters WHERE trigger_no = :trigger_no AND cause = :cause"
)

Parameters = Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class Start:
    """`event_nos`: number and replay of every event that it is for. `due_at`: when it is looked at next; of one that has, when it began."""

    trigger_no: int
    cause: str
    occurrences: tuple[tuple[int, int], ...]
    state: StartState
    reason: str
    run_id: str | None
    key: str
    parameters: Parameters
    spec_digest: str
    tries: int
    due_at: int
    made_at: int

    @property
    def fetches(self) -> dict[str, Fetch | tuple[Fetch, ...]]:
        """What must be fetched first, by parameter."""
        return {name: value for name, value in self.parameters.items() if isinstance(value, Fetch | tuple)}

    @property
    def values(self) -> dict[str, Value]:
        """The parameters, where nothing is to be fetched any more."""
        return {name: value for name, value in self.parameters.items() if not isinstance(value, Fetch | tuple)}


def insert_start(connection: Connection, start: Start, now: int) -> bool:
    """Whether nobody has taken that cause."""
    values = {
        "trigger_no": start.trigger_no,
        "cause": start.cause,
        "event_nos": json.dumps(start.occurrences),
        "key": start.key,
        "parameters": pack_parameters(start.parameters),
        "spec_digest": start.spec_digest,
        "now": now,
        "made_at": start.made_at,
    }
    return _insert(connection, **values) > 0


def write_starts(connection: Connection, starts: Sequence[Start]) -> None:
    """Writes down what became of causes that nobody had taken."""
    rows = [
        {
            "trigger_no": start.trigger_no,
            "cause": start.cause,
            "event_nos": json.dumps(start.occurrences),
            "state": start.state,
            "reason": clean_text(start.reason, REASON_LIMIT),
            "run_id": start.run_id,
            "key": start.key,
            "parameters": None if start.state == "started" else pack_parameters(start.parameters),
            "spec_digest": start.spec_digest,
            "tries": start.tries,
            "due_at": start.due_at,
            "made_at": start.made_at,
        }
        for start in starts
    ]
    _write.many(connection, rows)


def find_start(connection: Connection, trigger_no: int, cause: str) -> Start | None:
    """Nobody else changes it until this transaction ends."""
    row = _find.first(connection, trigger_no=trigger_no, cause=cause)
    return None if row is None else start_of(row)


def drop_start(connection: Connection, start: Start) -> None:
    """The cause is free again."""
    _drop(connection, trigger_no=start.trigger_no, cause=start.cause)


def move_start(  # noqa: PLR0913 - a row
    connection: Connection,
    start: Start,
    state: StartState,
    *,
    due_at: int,
    reason: str = "",
    run_id: str | None = None,
    tries: int = 0,
    parameters: Parameters | None = None,
) -> None:
    """Writes down what became of it."""
    _move(
        connection,
        trigger_no=start.trigger_no,
        cause=start.cause,
        state=state,
        reason=clean_text(reason, REASON_LIMIT),
        run_id=run_id,
        due_at=due_at,
        tries=tries,
        parameters=pack_parameters(start.parameters if parameters is None else parameters),
    )


def start_of(row: tuple[Any, ...]) -> Start:
    """A row with the columns of `START_COLUMNS`."""
    trigger_no, cause, event_nos, state, reason, run_id, key, parameters, spec_digest, tries, due_at, made_at = row
    occurrences = tuple((event_no, replay) for event_no, replay in json.loads(event_nos))
    return Start(
        trigger_no, cause, occurrences, state, reason, run_id, key, unpack_parameters(parameters), spec_digest, tries, due_at, made_at
    )


START_COLUMNS = _COLUMNS


def pack_parameters(parameters: Parameters) -> bytes:
    packed: bytes = msgpack.packb({name: _packed(value) for name, value in parameters.items()})
    return packed


def unpack_parameters(data: bytes | None) -> Parameters:
    return {} if data is None else {name: _unpacked(plain) for name, plain in msgpack.unpackb(data).items()}


def _packed(value: Parameter) -> dict[str, Any]:
    match value:
        case Fetch():
            return {"fetch": asdict(value)}
        case tuple():
            return {"fetches": [asdict(one) for one in value]}
        case _:
            return {"value": value.model_dump(exclude_defaults=True)}


def _unpacked(plain: dict[str, Any]) -> Parameter:
    match plain:
        case {"fetch": fetch}:
            return Fetch(**fetch)
        case {"fetches": fetches}:
            return tuple(Fetch(**fetch) for fetch in fetches)
        case _:
            return _value.validate_python(plain["value"])
