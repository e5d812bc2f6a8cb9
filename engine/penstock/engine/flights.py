"""Flights: of all step runs with one cache key, one is executed and the others are parked. Here are those whose process is gone."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.engine.core.wants import Woken
from penstock.engine.locks import has_neighbours
from penstock.engine.statement import Statement

_awaited = Statement(
    "SELECT DISTINCT u.owner FROM step_run s JOIN flight f ON f.key = s.key JOIN run u ON u.run_no = f.run_no "
    "WHERE s.state = 'parked' AND u.owner IS NOT NULL AND u.owner <> :owner"
)
_keys = Statement("SELECT f.key FROM elements(:owners) o JOIN run u ON u.owner = text_of(o) JOIN flight f ON f.run_no = u.run_no")
_end = Statement("DELETE FROM flight WHERE run_no IN (SELECT u.run_no FROM elements(:owners) o JOIN run u ON u.owner = text_of(o))")
_parked = Statement(
    "SELECT s.run_no, s.node, s.item FROM elements(:keys) k CROSS JOIN looked_up(s) step_run s "
    "WHERE s.key = text_of(k) AND s.state = 'parked' so_far(s)"
)
_look = Statement(
    'SELECT f."key", f.run_no, f.node, f.item FROM flight f WHERE f.workspace = :workspace '
    'AND f."key" IN (SELECT text_of(k) FROM elements(:keys) k)'
)
# Whoever deletes one of the rows that are held waits until this transaction ends; those that somebody deletes just now are not held.
_look_and_hold = Statement(
    'WITH held AS (SELECT f."key" FROM flight f WHERE f.workspace = :workspace '
    'AND f."key" IN (SELECT text_of(k) FROM elements(:keys) k) kept_if_free(f)) '
    'SELECT f."key", f.run_no, f.node, f.item, h."key" IS NOT NULL FROM flight f LEFT JOIN held h ON h."key" = f."key" '
    'WHERE f.workspace = :workspace AND f."key" IN (SELECT text_of(k) FROM elements(:keys) k)'
)
_take = Statement(
    'INSERT INTO flight (workspace, "key", run_no, node, item) SELECT :workspace, text_part_of(k, 0), part_of(k, 1), part_of(k, 2), '
    'part_of(k, 3) FROM elements(:flights) k WHERE 1 = 1 ON CONFLICT DO NOTHING returned("key")'
)

Place = tuple[int, int, int]
"""Run, node and item of a step run."""


@dataclass(frozen=True, slots=True)
class Flights:
    """Who executes which key. Nobody ends these before this transaction does: who is parked on one of them is found and woken."""

    owners: Mapping[str, Place]

    def has(self, key: str, place: Place) -> bool:
        """Whether that step run is the one to be executed."""
        return self.owners.get(key) == place

    def is_taken(self, key: str) -> bool:
        """Whether it is known to be executed; else somebody takes or ends it at this moment, and it is to be looked at again."""
        return key in self.owners


def take_flights(connection: Connection, workspace: str, wanted: Iterable[tuple[str, Place]]) -> Flights:
    """Has each key executed by the first one that wants it, unless somebody executes it. Does not wait for who ends a flight."""
    first: dict[str, Place] = {}
    for key, place in wanted:
        first.setdefault(key, place)
    if not first:
        return Flights({})
    owners, ending = _known(connection, workspace, first)
    free = sorted(first.keys() - owners.keys() - ending)
    if not free:
        return Flights(owners)
    flights = json.dumps([(key, *first[key]) for key in free])
    if has_neighbours(connection):
        free = [row[0] for row in _take.rows(connection, workspace=workspace, flights=flights)]
    else:
        _take(connection, workspace=workspace, flights=flights)
    return Flights(owners | {key: first[key] for key in free})


def _known(connection: Connection, workspace: str, keys: Iterable[str]) -> tuple[dict[str, Place], set[str]]:
    """Who executes which of these keys for as long as this transaction lasts, and the keys of which that ends just now."""
    wanted = json.dumps(sorted(keys))
    if not has_neighbours(connection):
        return {key: (run, n, i) for key, run, n, i in _look.rows(connection, workspace=workspace, keys=wanted)}, set()
    rows = _look_and_hold.rows(connection, workspace=workspace, keys=wanted)
    return {key: (run, n, i) for key, run, n, i, is_held in rows if is_held}, {row[0] for row in rows if not row[4]}


def awaited_owners(connection: Connection, owner: str) -> list[str]:
    """The other processes for whose executions somebody waits."""
    return [row[0] for row in _awaited.rows(connection, owner=owner)]


def end_flights(connection: Connection, owners: Sequence[str]) -> list[tuple[int, Woken]]:
    """Ends what processes that are gone were executing; those who waited for it do it themselves."""
    keys = [row[0] for row in _keys.rows(connection, owners=json.dumps(owners))]
    _end(connection, owners=json.dumps(owners))
    return parked_on(connection, keys)


def parked_on(connection: Connection, keys: Sequence[str]) -> list[tuple[int, Woken]]:
    """Those who wait for these cache keys, with their runs."""
    return [(run_no, Woken((node, item))) for run_no, node, item in _parked.rows(connection, keys=json.dumps(sorted(set(keys))))]
