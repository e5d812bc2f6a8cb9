"""Events that wait for somebody, over all workspaces: to be decided, to be looked at, to go out. Read-only figures for operators."""

from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.engine.statement import Statement

_new = Statement("SELECT workspace, count(*), min(received_at) FROM event WHERE state = 'new' GROUP BY workspace")
_dead = Statement("SELECT workspace, count(*) FROM event WHERE state = 'dead' GROUP BY workspace")
_unread = Statement("SELECT workspace, count(*) FROM event_refusal GROUP BY workspace")
_owed = Statement("SELECT workspace, count(*), min(made_at) FROM owed_event WHERE state = 'owed' GROUP BY workspace")


@dataclass(frozen=True, slots=True)
class EventBacklog:
    """Counts are by workspace. `oldest_*` are microseconds since 1970 UTC, None where none waits."""

    new: dict[str, int]
    dead: dict[str, int]
    unread: dict[str, int]
    """Messages that nobody could read."""
    owed: dict[str, int]
    oldest_new: int | None
    oldest_owed: int | None


def event_backlog(connection: Connection) -> EventBacklog:
    """As it is now. Its cost grows with what waits, not with what was."""
    new, owed = _new.rows(connection), _owed.rows(connection)
    return EventBacklog(
        new={row[0]: int(row[1]) for row in new},
        dead={row[0]: int(row[1]) for row in _dead.rows(connection)},
        unread={row[0]: int(row[1]) for row in _unread.rows(connection)},
        owed={row[0]: int(row[1]) for row in owed},
        oldest_new=min((int(row[2]) for row in new), default=None),
        oldest_owed=min((int(row[2]) for row in owed), default=None),
    )
