"""Flights: of all step runs with one cache key, one is executed and the others are parked. Here are those whose process is gone."""

import json
from collections.abc import Sequence

from sqlalchemy import Connection

from penstock.engine.core.wants import Woken
from penstock.engine.statement import Statement

_awaited = Statement(
    "SELECT DISTINCT u.owner FROM step_run s JOIN flight f ON f.key = s.key JOIN run u ON u.run_no = f.run_no "
    "WHERE s.state = 'parked' AND u.owner IS NOT NULL AND u.owner <> :owner"
)
_keys = Statement("SELECT f.key FROM json_each(:owners) o JOIN run u ON u.owner = o.value JOIN flight f ON f.run_no = u.run_no")
_end = Statement("DELETE FROM flight WHERE run_no IN (SELECT u.run_no FROM json_each(:owners) o JOIN run u ON u.owner = o.value)")
_parked = Statement(
    "SELECT s.run_no, s.node, s.item FROM json_each(:keys) k CROSS JOIN step_run s WHERE s.key = k.value AND s.state = 'parked'"
)


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
