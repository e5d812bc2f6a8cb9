"""One transaction of a coordinator: facts in, rows changed, orders out. Plain and synchronous."""

import hmac
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog
from sqlalchemy import Connection

from penstock.contracts.messages import AttemptKey, Claim, ClaimAnswer, Completed, Order, Released, Started
from penstock.contracts.states import StepState
from penstock.engine.core.decision import Decision
from penstock.engine.core.rows import CacheRow, RunRow
from penstock.engine.core.slice import Circumstances
from penstock.engine.core.wants import Fact, Fired, Lost, Recount, Woken
from penstock.engine.dispatcher import Dispatcher
from penstock.engine.flights import parked_on
from penstock.engine.outgoing.telling import tell
from penstock.engine.pools import Slots, pools_of
from penstock.engine.shared_entries import NewEntry
from penstock.engine.slice_reader import load, load_plan, load_run, lock_and_load_runs
from penstock.engine.slice_writer import running_attempts, write
from penstock.engine.statement import Statement
from penstock.engine.timers import is_due

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.coordinator")

CHORES = 1000
"""Chores of one run that are looked at together."""

# `scanned` has SQLite go through the few rows that are due instead of all of the run.
_chores = Statement("SELECT node, item, state FROM step_run WHERE scanned(run_no) = :run_no AND due = 1 LIMIT :count")
_left = Statement(
    "SELECT s.run_no, s.node, s.item, s.state FROM step_run s JOIN run u ON u.run_no = s.run_no AND same(u.owner, :owner) "
    "AND u.ended_at IS NULL WHERE s.due = 1 LIMIT :count"
)
_live = Statement(
    "SELECT node, item, number, incarnation FROM attempt WHERE scanned(run_no) = :run_no AND state IN ('dispatched', 'running')"
)


@dataclass(frozen=True, slots=True)
class Chore:
    """A step run that needs something done outside of a transaction, or another transaction."""

    run_no: int
    node: int
    item: int
    state: StepState


@dataclass(slots=True)
class Outcome:
    """What is owed once the transaction is committed."""

    orders: list[Order] = field(default_factory=list[Order])
    cancellations: list[AttemptKey] = field(default_factory=list[AttemptKey])
    answers: list[tuple[str, ClaimAnswer]] = field(default_factory=list[tuple[str, ClaimAnswer]])
    chores: list[Chore] = field(default_factory=list[Chore])
    touched: set[int] = field(default_factory=set[int])
    ended: set[int] = field(default_factory=set[int])
    cached: list[NewEntry] = field(default_factory=list[NewEntry])
    has_timers: bool = False
    """Timers were set."""
    has_told: bool = False
    """Events were kept, or are owed to those who registered for them."""

    def add(self, other: "Outcome") -> None:
        """What another transaction owes is owed too."""
        self.orders += other.orders
        self.cancellations += other.cancellations
        self.answers += other.answers
        self.chores += other.chores
        self.touched |= other.touched
        self.ended |= other.ended
        self.cached += other.cached
        self.has_timers |= other.has_timers
        self.has_told |= other.has_told


def work(
    connection: Connection,
    facts: Mapping[int, Sequence[Fact]],
    circumstances: Circumstances,
    dispatcher: Dispatcher,
    slots: Slots,
) -> Outcome:
    """Decides, and gives out what slots are free, in one transaction. What others give out just now is left to them."""
    outcome = decide_all(connection, facts, circumstances, dispatcher)
    outcome.add(give_out(connection, circumstances, dispatcher, slots, waits=False))
    return outcome


def decide_all(
    connection: Connection, facts: Mapping[int, Sequence[Fact]], circumstances: Circumstances, dispatcher: Dispatcher
) -> Outcome:
    """Decides the facts of each run, and wakes who waited for the same cache keys.

    Runs are locked and taken in the order of their numbers, so that two coordinators never wait for each other.
    """
    outcome = Outcome()
    over: list[str] = []
    runs = lock_and_load_runs(connection, facts)
    for run_no, run in runs.items():
        over += _decide(connection, run, facts[run_no], circumstances, dispatcher, outcome)
    for run_no in facts.keys() - runs.keys():
        outcome.answers += _denied(facts[run_no], "there is no such run")
    woken = _woken(connection, over)
    # Among these may be lower numbers than those above: where two coordinators wait for each other so, the store has one of them try again.
    for run_no, run in lock_and_load_runs(connection, woken).items():
        _decide(connection, run, woken[run_no], circumstances, dispatcher, outcome)
    return _with_chores(connection, outcome)


def give_out(
    connection: Connection,
    circumstances: Circumstances,
    dispatcher: Dispatcher,
    slots: Slots,
    *,
    waits: bool = True,
) -> Outcome:
    """Gives free slots to what is ready; `waits`: for others who give out slots of the same pool."""
    outcome = Outcome()
    # Nobody is overtaken twice at one time, so this ends.
    while True:
        outcome.orders += dispatcher.dispatch(connection, slots, circumstances.now, waits=waits)
        if not (overtaken := dispatcher.take_overtaken()):
            break
        woken = _by_run(overtaken)
        for run_no, run in lock_and_load_runs(connection, woken).items():
            _decide(connection, run, woken[run_no], circumstances, dispatcher, outcome)
    return _with_chores(connection, outcome)


def _with_chores(connection: Connection, outcome: Outcome) -> Outcome:
    for run_no in sorted(outcome.touched - outcome.ended):
        outcome.chores += chores_of(connection, run_no)
    return outcome


def _decide(
    connection: Connection, run: RunRow, facts: Sequence[Fact], circumstances: Circumstances, dispatcher: Dispatcher, outcome: Outcome
) -> list[str]:
    """One run's part; returns the cache keys whose attempts are over."""
    run_no = run.run_no
    over: list[str] = []
    if circumstances.only_pool is None:
        circumstances = replace(circumstances, pools=pools_of(connection, run.workspace))
    genuine = [fact for fact in facts if _is_genuine(fact, run, dispatcher)]
    if len(genuine) < len(facts):
        outcome.answers += _denied([fact for fact in facts if fact not in genuine], "its token is not of this attempt")
    pending = [fact for fact in genuine if not _is_stale(connection, fact, run_no, circumstances.now)]
    while pending:
        decision, has_told = decide(connection, run, pending, circumstances)
        changes = decision.changes
        over += changes.flights_over
        outcome.cancellations += [cancellation.attempt for cancellation in changes.cancellations]
        outcome.answers += [(reply_to, _with_token(answer, run, dispatcher)) for reply_to, answer in changes.answers]
        outcome.cached += _made_here(run, changes.cache)
        outcome.has_timers |= bool(changes.timers) or changes.stop is not None
        outcome.has_told |= has_told
        pending = []
        if changes.stop is not None:
            outcome.cancellations += _of_running(connection, run_no)
            pending = [Recount()]
            run = load_run(connection, run_no) or run
    outcome.touched.add(run_no)
    if run.state.is_terminal:
        outcome.ended.add(run_no)
    return over


def decide(connection: Connection, run: RunRow, facts: Sequence[Fact], circumstances: Circumstances) -> tuple[Decision, bool]:
    """Decides what `facts` mean for the run and writes the result; whether somebody is to hear of it."""
    decision = Decision(plan=load_plan(connection, run), run=run, circumstances=circumstances)
    for want in decision.decide(facts):
        load(connection, decision, want)
    has_told = tell(connection, decision)
    write(connection, decision)
    return decision, has_told


def _made_here(run: RunRow, entries: Sequence[CacheRow]) -> list[NewEntry]:
    """What other engines don't know yet; entries that came from them are not told to them again."""
    return [
        NewEntry(workspace=run.workspace, key=e.key, outputs=e.outputs, made_at=e.made_at, seconds=e.seconds, run_name=run.name)
        for e in entries
        if e.run_no == run.run_no
    ]


def _is_genuine(fact: Fact, run: RunRow, dispatcher: Dispatcher) -> bool:
    """Whether a report comes from somebody who was given that attempt."""
    if not isinstance(fact, Started | Completed | Released | Claim):
        return True
    is_genuine = hmac.compare_digest(fact.token, dispatcher.token(run.workspace, fact.attempt))
    if not is_genuine:
        log.warning("report.forged", run_id=run.run_id, attempt=fact.attempt.model_dump())
    return is_genuine


def _denied(facts: Sequence[Fact], reason: str) -> list[tuple[str, ClaimAnswer]]:
    """Whoever claims what is not to be had is told so: without an answer, a slot would wait for it for ever."""
    return [(fact.reply_to, ClaimAnswer(asked=fact.attempt, granted=False, reason=reason)) for fact in facts if isinstance(fact, Claim)]


def _is_stale(connection: Connection, fact: Fact, run_no: int, now: int) -> bool:
    """Whether it tells of a timer that has fired since, and may have been set again."""
    return isinstance(fact, Fired) and not is_due(connection, run_no, fact, now)


def _with_token(answer: ClaimAnswer, run: RunRow, dispatcher: Dispatcher) -> ClaimAnswer:
    if answer.attempt is None:
        return answer
    return answer.model_copy(update={"token": dispatcher.token(run.workspace, answer.attempt)})


def _of_running(connection: Connection, run_no: int) -> list[AttemptKey]:
    return [
        AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=number)
        for node, item, number in running_attempts(connection, run_no)
    ]


def _woken(connection: Connection, keys: list[str]) -> dict[int, list[Fact]]:
    """Those who are parked on these keys, by run."""
    return _by_run(parked_on(connection, keys)) if keys else {}


def _by_run(woken: Sequence[tuple[int, Woken]]) -> dict[int, list[Fact]]:
    facts: dict[int, list[Fact]] = defaultdict(list)
    for run_no, fact in woken:
        facts[run_no].append(fact)
    return facts


def chores_of(connection: Connection, run_no: int) -> list[Chore]:
    """What the run needs done; all of it can be found again from the rows after a crash."""
    return [Chore(run_no, node, item, StepState(state)) for node, item, state in _chores.rows(connection, run_no=run_no, count=CHORES)]


def chores_left(connection: Connection, owner: str | None) -> list[Chore]:
    """What the runs of an owner need done, whether somebody is at it or not."""
    return [Chore(run_no, node, item, StepState(state)) for run_no, node, item, state in _left.rows(connection, owner=owner, count=CHORES)]


def orphans(connection: Connection, run_no: int, incarnation: str) -> list[Fact]:
    """The attempts of a run that another process, which is gone, was executing."""
    return [
        Lost((node, item), number, counts=False)
        for node, item, number, held_by in _live.rows(connection, run_no=run_no)
        if held_by != incarnation
    ]
