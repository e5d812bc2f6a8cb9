"""Puts a run aside that can't be decided, so that the others go on. Works on rows alone: deciding is what failed."""

from collections import deque
from dataclasses import dataclass, field

from sqlalchemy import Connection

from penstock.contracts.messages import AttemptKey
from penstock.engine.core.wants import Woken
from penstock.engine.flights import parked_on
from penstock.engine.locks import lock_runs
from penstock.engine.outgoing.telling import tell_of_failure
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


TRIES = 3
"""A run whose fact fails alone so often is put aside: before that, the trouble may be over, or be this process's."""
ASIDE_AT_ONCE = 3
"""Runs that are put aside in `_PERIOD_SECONDS` at most: where more of them fail, it is not they that are broken."""
_PERIOD_SECONDS = 60.0
_REMEMBERED = 1000


@dataclass(slots=True)
class Failures:
    """How often runs could not be decided, as one coordinator saw it."""

    _counts: dict[int, int] = field(default_factory=dict[int, int])
    _put_aside: deque[float] = field(default_factory=deque[float])
    _has_left: bool = False

    def failed(self, run_no: int, at: float) -> bool:
        """A fact of the run failed alone, at that monotonic second; whether the run is to be put aside. Else the fact is left for later."""
        self._counts[run_no] = self._counts.pop(run_no, 0) + 1
        if len(self._counts) > _REMEMBERED:
            self._counts.pop(next(iter(self._counts)))
        while self._put_aside and at - self._put_aside[0] > _PERIOD_SECONDS:
            self._put_aside.popleft()
        if self._counts[run_no] < TRIES or len(self._put_aside) >= ASIDE_AT_ONCE:
            self._has_left = True
            return False
        self._put_aside.append(at)
        del self._counts[run_no]
        return True

    def take_left(self) -> bool:
        """Whether something was left for later; told once."""
        has_left, self._has_left = self._has_left, False
        return has_left


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
    is_stopped = _stop_run(connection, run_no=run_no, error=f"internal error, please report it: {reason}", now=now)
    _stop_steps(connection, run_no=run_no, now=now)
    _close_attempts(connection, run_no=run_no, now=now)
    for statement in (_clear_ready, _clear_timers, _clear_flights):
        statement(connection, run_no=run_no)
    if is_stopped:
        tell_of_failure(connection, run_no, now)
    return Aftermath(working, parked_on(connection, keys))
