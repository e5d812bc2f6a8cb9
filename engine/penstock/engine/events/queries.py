"""Events and decisions as people see them. Lists have the newest first; `limit` entries at most, behind the place that is named."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from penstock.contracts.errors import InvalidInput
from penstock.contracts.event_views import DecisionView, EventView
from penstock.engine.statement import Statement

FAR = 2**62
_EVENT = (
    "e.event_no, e.id, e.source, e.type, e.subject, e.time, e.received_at, e.via, e.sender, e.state, e.error, e.hops, e.correlation_id, "
    "e.causation_id, (SELECT count(*) FROM event_conflict c WHERE c.event_no = e.event_no)"
)
_DECISION = "d.event_no, t.name, t.version, d.replay, d.outcome, d.reason, d.run_id, d.at, u.name"
_JOINED = "JOIN trigger_version t ON t.trigger_no = d.trigger_no LEFT JOIN run u ON u.workspace = t.workspace AND u.run_id = d.run_id"
# What is not asked for is NULL; a type that ends in `*` stands for those that begin so.
_list = Statement(
    f"SELECT {_EVENT} FROM event e WHERE e.workspace = :workspace AND e.event_no < :before AND e.received_at >= :since "  # noqa: S608 - constants
    "AND (CAST(:type AS TEXT) IS NULL OR e.type = :type OR (:prefix <> '' AND substr(e.type, 1, length(:prefix)) = :prefix)) "
    "AND (CAST(:source AS TEXT) IS NULL OR e.source = :source) AND (CAST(:state AS TEXT) IS NULL OR e.state = :state) "
    "ORDER BY e.event_no DESC LIMIT :limit"
)
_one = Statement(f"SELECT {_EVENT}, e.body FROM event e WHERE e.workspace = :workspace AND e.event_no = :event_no")  # noqa: S608 - constants
_of_events = Statement(
    f"SELECT {_DECISION} FROM decision d {_JOINED} WHERE d.event_no IN (SELECT number_of(n) FROM elements(:numbers) n) "  # noqa: S608 - constants
    "ORDER BY d.event_no, t.name, d.replay"
)
_of_one = Statement(f"SELECT {_DECISION} FROM decision d {_JOINED} WHERE d.event_no = :event_no ORDER BY t.name, d.replay")  # noqa: S608 - constants
_of_trigger = Statement(
    f"SELECT {_DECISION} FROM decision d {_JOINED} WHERE t.workspace = :workspace AND t.name = :name "  # noqa: S608 - constants
    "AND (CAST(:outcome AS TEXT) IS NULL OR d.outcome = :outcome) "
    "AND (d.at, d.event_no, d.replay) < (:at, :event_no, CAST(:replay AS BIGINT)) "
    "ORDER BY d.at DESC, d.event_no DESC, d.replay DESC LIMIT :limit"
)


class DecisionPlace(NamedTuple):
    """Where in a list of decisions: the key that it is ordered by."""

    at: int
    event_no: int
    replay: int


NEWEST = DecisionPlace(FAR, FAR, FAR)


def list_events(  # noqa: PLR0913 - filters
    connection: Connection,
    workspace: str,
    *,
    before: int | None = None,
    limit: int = 100,
    type: str | None = None,  # noqa: A002 - what CloudEvents call it
    source: str | None = None,
    state: str | None = None,
    since: int = 0,
) -> list[EventView]:
    """Events without their bodies and decisions. `type` may end in `*`; `before` is a number, `since` a time."""
    rows = _list.rows(
        connection,
        workspace=workspace,
        before=FAR if before is None else before,
        since=since,
        type=type,
        prefix=type[:-1] if type is not None and type.endswith("*") else "",
        source=source,
        state=state,
        limit=limit,
    )
    return [_event_view(row) for row in rows]


def event_view(connection: Connection, workspace: str, event_no: int) -> EventView:
    """The whole event, with what every trigger made of it.

    :raises InvalidInput: there is none of that number.
    """
    row = _one.first(connection, workspace=workspace, event_no=event_no)
    if row is None:
        raise InvalidInput(f"there is no event {event_no}")
    decisions = tuple(_decision_view(one) for one in _of_one.rows(connection, event_no=event_no))
    return _event_view(row[:-1]).model_copy(update={"event": json.loads(row[-1]), "decisions": decisions})


def decisions_of_events(connection: Connection, event_nos: Sequence[int]) -> dict[int, tuple[DecisionView, ...]]:
    """What the triggers made of these."""
    found: dict[int, list[DecisionView]] = defaultdict(list)
    for row in _of_events.rows(connection, numbers=json.dumps(list(event_nos))):
        found[row[0]].append(_decision_view(row))
    return {event_no: tuple(views) for event_no, views in found.items()}


def decisions_of_trigger(
    connection: Connection, workspace: str, name: str, *, before: DecisionPlace = NEWEST, limit: int = 100, outcome: str | None = None
) -> list[DecisionView]:
    """What a trigger, in all its versions, made of events."""
    rows = _of_trigger.rows(
        connection,
        workspace=workspace,
        name=name,
        outcome=outcome,
        at=before.at,
        event_no=before.event_no,
        replay=before.replay,
        limit=limit,
    )
    return [_decision_view(row) for row in rows]


def _event_view(row: tuple[Any, ...]) -> EventView:
    names = (
        "event_no", "id", "source", "type", "subject", "time", "received_at", "via", "sender", "state", "error", "hops", "correlation_id",
        "causation_id", "conflicts",
    )  # fmt: skip
    return EventView.model_validate(dict(zip(names, row, strict=True)))


def _decision_view(row: tuple[Any, ...]) -> DecisionView:
    names = ("event_no", "trigger", "trigger_version", "replay", "outcome", "reason", "run_id", "at", "run_name")
    return DecisionView.model_validate(dict(zip(names, row, strict=True)))
