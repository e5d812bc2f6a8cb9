"""What people ask for once more: events replayed, dead ones and failed starts tried again."""

import json

from sqlalchemy import Connection

from penstock.contracts.errors import InvalidInput
from penstock.engine.statement import Statement

_event = Statement("SELECT state, replays FROM event e WHERE e.workspace = :workspace AND e.event_no = :event_no locked(e)")
_replay = Statement("UPDATE event SET replays = replays + 1, state = 'new', tries = 0, error = NULL WHERE event_no = :event_no")
_retry = Statement("UPDATE event SET state = 'new', tries = 0, error = NULL WHERE event_no = :event_no")
_failed = Statement(
    "SELECT s.trigger_no, s.cause, s.event_nos FROM decision d JOIN trigger_version t ON t.trigger_no = d.trigger_no "
    "JOIN trigger_start s ON s.trigger_no = d.trigger_no AND s.state IN ('failed', 'refused') "
    "WHERE d.event_no = :event_no AND d.outcome IN ('failed', 'refused') AND t.workspace = :workspace "
    "AND (CAST(:trigger AS TEXT) IS NULL OR t.name = :trigger)"
)
_kept = Statement(
    "SELECT e.event_no FROM event e WHERE e.event_no IN (SELECT number_of(n) FROM elements(:numbers) n) ORDER BY e.event_no locked(e)"
)
_again = Statement(
    "UPDATE trigger_start SET state = 'again', tries = 0, due_at = :now "
    "WHERE trigger_no = :trigger_no AND cause = :cause AND state IN ('failed', 'refused')"
)
_waits = Statement(
    "UPDATE decision SET outcome = 'waiting', reason = 'it is tried once more', \"at\" = :now "
    "WHERE event_no = :event_no AND trigger_no = :trigger_no AND replay = :replay"
)


def replay(connection: Connection, workspace: str, event_no: int) -> int:
    """Has every trigger decide the event once more, as another occurrence of it; how often it was replayed now.

    :raises InvalidInput: there is no such event, or it is not decided yet.
    """
    state, replays = _found(connection, workspace, event_no)
    if state == "new":
        raise InvalidInput(f"the event {event_no} is being decided; replay it when it is done")
    _replay(connection, event_no=event_no)
    return int(replays) + 1


def retry_dead(connection: Connection, workspace: str, event_no: int) -> None:
    """Has an event decided that could not be, time and again.

    :raises InvalidInput: there is no such event, or it is not dead.
    """
    state, _ = _found(connection, workspace, event_no)
    if state != "dead":
        raise InvalidInput(f"the event {event_no} is not dead, it is {state}; `penstock events replay` has a decided one decided again")
    _retry(connection, event_no=event_no)


def retry_failed(connection: Connection, workspace: str, event_no: int, now: int, trigger: str | None = None) -> int:
    """Tries once more to make the runs of an event that could not be made: data, a pipeline or a named artifact was not there. How many.

    :raises InvalidInput: there is no such event, or nothing of it failed.
    """
    _found(connection, workspace, event_no)
    count = 0
    for trigger_no, cause, event_nos in _failed.rows(connection, event_no=event_no, workspace=workspace, trigger=trigger):
        occurrences = json.loads(event_nos)
        numbers = sorted({number for number, _ in occurrences})
        # Of those that made it together, some may be too old to be kept still.
        if event_no not in numbers or len(_kept.rows(connection, numbers=json.dumps(numbers))) < len(numbers):
            continue
        if _again(connection, trigger_no=trigger_no, cause=cause, now=now):
            places = [{"event_no": number, "replay": replayed} for number, replayed in occurrences]
            _waits.many(connection, [{**place, "trigger_no": trigger_no, "now": now} for place in places])
            count += 1
    if not count:
        raise InvalidInput(
            f"nothing that the event {event_no} was to start has failed; `penstock events replay {event_no}` has it decided once more"
        )
    return count


def _found(connection: Connection, workspace: str, event_no: int) -> tuple[str, int]:
    row = _event.first(connection, workspace=workspace, event_no=event_no)
    if row is None:
        raise InvalidInput(f"there is no event {event_no}")
    return row[0], row[1]
