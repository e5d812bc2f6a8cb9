"""Puts a run aside that can't be decided, so that the others go on. Works on rows alone: deciding is what failed."""

from dataclasses import dataclass

from sqlalchemy import Connection

from penstock.contracts.messages import AttemptKey
from penstock.engine.core.wants import Woken
from penstock.engine.flights import parked_on
from penstock.engine.locks import lock_runs
from penstock.engine.statement import Statement

_stop_run = Statement(
    "UPDATE run SET state = 'failed', stop = 'failed', error = :error, ended_at = :now, \"open\" = 0 "
    "WHERE run_no = :run_no AND ended_at IS NULL"
)
_stop_steps = Statement(
    "UPDATE step_run SET state = 'cancelled', due = 0, reason = 'its run was put aside', ended_at = :now "
    "WHERE run_no = :run_no AND state NOT IN ('succeeded', 'failed', 'skipped', 'cancelled')"
)
_live_attempts = Statement("SELECT node, item, number FROM attempt WHERE run_no = :run_no AND state IN ('dispatched', 'running')")
_close_attempts = Statement(
    "UPDATE attempt SET state = 'lost', ended_at = :now WHERE run_no = :run_no AND state IN ('dispatched', 'running')"
)
_flights = Statement("SELECT key FROM flight WHERE run_no = :run_no")
_clear_ready = Statement("DELETE FROM ready WHERE run_no = :run_no")
_clear_timers = Statement("DELETE FROM timer WHERE run_no = :run_no")
_clear_flights = Statement("DELETE FROM flight WHERE run_no = :run_no")


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What is owed to others: `working` attempts are to be told to stop, `woken` step runs waited for what this run executed."""

    working: list[AttemptKey]
    woken: list[tuple[int, Woken]]


def quarantine(connection: Connection, run_no: int, reason: str, now: int) -> Aftermath:
    """Ends the run as failed, saying why."""
    lock_runs(connection, [run_no])
    attempts = _live_attempts.rows(connection, run_no=run_no)
    working = [AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=number) for node, item, number in attempts]
    keys = [row[0] for row in _flights.rows(connection, run_no=run_no)]
    _stop_run(connection, run_no=run_no, error=f"internal error, please report it: {reason}", now=now)
    _stop_steps(connection, run_no=run_no, now=now)
    _close_attempts(connection, run_no=run_no, now=now)
    for statement in (_clear_ready, _clear_timers, _clear_flights):
        statement(connection, run_no=run_no)
    return Aftermath(working, parked_on(connection, keys))
