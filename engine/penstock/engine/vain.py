"""Attempts that are executed in vain: their step runs ended without them. Whoever executes them is told to stop until it is heard."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from penstock.contracts.messages import AttemptKey
from penstock.engine.statement import Statement

DOUBT_SECONDS = 4.0
"""A closed attempt that is still named so much later was not just about to be told of."""
_FORGET_SECONDS = 60.0

# Of a step run that goes on, a lost attempt may succeed still. Attempts that the store does not know are none of its business.
_in_vain = Statement(
    "SELECT a.run_no, a.node, a.item, a.number FROM elements(:keys) k CROSS JOIN attempt a "
    "JOIN step_run s ON s.run_no = a.run_no AND s.node = a.node AND s.item = a.item "
    "WHERE a.run_no = part_of(k, 0) AND a.node = part_of(k, 1) AND a.item = part_of(k, 2) AND a.number = part_of(k, 3) "
    "AND a.state NOT IN ('dispatched', 'running') "
    "AND (s.state IN ('succeeded', 'failed', 'skipped', 'cancelled') OR a.state NOT IN ('lost', 'superseded', 'released'))"
)


def in_vain(connection: Connection, attempts: Iterable[AttemptKey]) -> list[AttemptKey]:
    """Those of the attempts of which nothing can come any more."""
    keys = json.dumps([(a.run_no, a.step_no, a.item_no, a.attempt_no) for a in attempts])
    return [
        AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=number)
        for run_no, node, item, number in _in_vain.rows(connection, keys=keys)
    ]


@dataclass(slots=True)
class Doubts:
    """Which attempts runners name that are not open any more. Times are one process's own monotonic seconds."""

    _named: set[AttemptKey] = field(default_factory=set[AttemptKey])
    _since: dict[AttemptKey, float] = field(default_factory=dict[AttemptKey, float])

    def heard(self, attempts: Iterable[AttemptKey]) -> None:
        """A heartbeat named these."""
        self._named.update(attempts)

    def take(self, live: Collection[AttemptKey], at: float) -> list[AttemptKey]:
        """Those that were named since the last call and have not been open for a while, as far as was seen. `live` was read since."""
        named, self._named = self._named, set()
        self._since = {attempt: since for attempt, since in self._since.items() if at - since < _FORGET_SECONDS and attempt not in live}
        closed = [attempt for attempt in named if attempt not in live]
        return [attempt for attempt in closed if at - self._since.setdefault(attempt, at) >= DOUBT_SECONDS]
