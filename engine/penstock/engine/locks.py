"""Locks of a transaction, for stores whose transactions run side by side. On SQLite, which has one writer, they are nothing.

The order is always the same, so that nobody waits in a circle: names, then runs by number; dispatch locks pools, and never waits for a run.
"""

import json
from collections.abc import Iterable

from sqlalchemy import Connection

from penstock.engine.statement import Statement

_runs = Statement("SELECT u.run_no FROM run u WHERE u.run_no IN (SELECT number_of(r) FROM elements(:runs) r) ORDER BY u.run_no locked(u)")
_free_runs = Statement("SELECT u.run_no FROM run u WHERE u.run_no IN (SELECT number_of(r) FROM elements(:runs) r) locked_if_free(u)")
_free_name = Statement("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
_name = Statement("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_share = Statement("SELECT pg_advisory_xact_lock_shared(hashtextextended(:name, 0))")


def has_neighbours(connection: Connection) -> bool:
    """Whether other transactions may write at the same time."""
    return connection.dialect.name == "postgresql"


def lock_runs(connection: Connection, runs: Iterable[int]) -> None:
    """Waits until nobody else decides these runs. What is read of them afterwards, in later statements, stays as it is."""
    wanted = sorted(set(runs))
    if wanted and has_neighbours(connection):
        _runs.rows(connection, runs=json.dumps(wanted))


def lock_free_runs(connection: Connection, runs: Iterable[int]) -> set[int]:
    """Those of the runs that nobody else decides at this moment; nobody does from now on."""
    wanted = sorted(set(runs))
    if not wanted or not has_neighbours(connection):
        return set(wanted)
    return {row[0] for row in _free_runs.rows(connection, runs=json.dumps(wanted))}


def lock_free_name(connection: Connection, *name: str) -> bool:
    """Whether nobody else holds that name at this moment; nobody does from now on."""
    if not has_neighbours(connection):
        return True
    row = _free_name.first(connection, name="|".join(name))
    return row is not None and bool(row[0])


def lock_name(connection: Connection, *name: str) -> None:
    """Waits until nobody else holds that name."""
    if has_neighbours(connection):
        _name.rows(connection, name="|".join(name))


def share_name(connection: Connection, *name: str) -> None:
    """Waits until nobody holds that name alone; others may share it."""
    if has_neighbours(connection):
        _share.rows(connection, name="|".join(name))
