"""What runners report of attempts. A report that no longer applies (its attempt is closed, its step run has ended) changes nothing."""

from collections.abc import Sequence

from penstock.contracts.messages import Claim, ClaimAnswer, Completed, Failure, Released, Started
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import AttemptState, FailureKind, StepState
from penstock.engine.core import lost_inputs
from penstock.engine.core.retry import INFRASTRUCTURE_BUDGET, MICROSECONDS, GiveUp, Retry, after_failure
from penstock.engine.core.rows import (
    NONDETERMINISTIC,
    SAW_IDENTITY,
    AttemptRow,
    CacheRow,
    StepRow,
    TimerRow,
    pack_values,
    stopped_because,
)
from penstock.engine.core.slice import Slice, Steps, pack_failure
from penstock.engine.core.wants import Attempts, CacheEntries, Cancellation, Fact, Finding, Lost, Running, StepRuns

_REVIVABLE = (AttemptState.LOST, AttemptState.SUPERSEDED, AttemptState.RELEASED)
"""Somebody may execute such an attempt still: one is given back also by whoever was delivered it a second time."""
_PAUSES = (0, 1, 4, 15, 60)
"""Seconds after so many losses: a runner that gives everything back at once must not use up the budget of all that waits."""


def _place(fact: Fact) -> tuple[int, int, int] | None:
    match fact:
        case Started() | Completed() | Released() | Claim():
            return (fact.attempt.step_no, fact.attempt.item_no, fact.attempt.attempt_no)
        case Lost():
            return (*fact.place, fact.number)
        case _:
            return None


def load(rows: Slice, facts: Sequence[Fact]) -> Steps:
    """The rows that `facts` speak of."""
    places = [place for fact in facts if (place := _place(fact)) is not None]
    if not places:
        return
    yield Attempts(list(dict.fromkeys(places)))
    yield StepRuns(rows.unknown([(node, item) for node, item, _ in places]))
    keys = [row.key for node, item, _ in places if (row := rows.steps.get((node, item))) and row.key]
    yield CacheEntries([key for key in dict.fromkeys(keys) if key not in rows.cache])


def take(rows: Slice, fact: Started | Completed | Released | Claim | Lost) -> Steps:
    """Takes one report in."""
    place = _place(fact)
    attempt = rows.attempts.get(place) if place is not None else None
    row = rows.steps.get(place[:2]) if place is not None else None
    if attempt is None or row is None:
        if isinstance(fact, Claim):
            deny(rows, fact, "there is no such attempt")
        return
    match fact:
        case Claim():
            yield from _claim(rows, row, attempt, fact)
        case Started():
            _started(rows, row, attempt, fact)
        case Completed():
            yield from _completed(rows, row, attempt, fact)
        case Released():
            if not attempt.state.is_closed and not _is_held_by_another(attempt, fact.runner):
                _close(rows, attempt, AttemptState.RELEASED)
                _lose(rows, row, f"given back: {fact.reason}", pause=True)
        case Lost():
            has_begun = attempt.state is AttemptState.RUNNING
            if not attempt.state.is_closed and not (has_begun and fact.if_unbegun):
                _close(rows, attempt, AttemptState.LOST)
                _lose(rows, row, fact.reason, counts=fact.counts, has_begun=has_begun)


def take_late(rows: Slice, fact: Started | Completed | Released | Claim | Lost) -> None:
    """The run has ended without waiting for this attempt: nothing comes of a report but the attempt's own end."""
    place = _place(fact)
    attempt = rows.attempts.get(place) if place is not None else None
    match fact:
        case Claim():
            deny(rows, fact, "its run has ended")
        case Started():
            rows.changes.cancellations.append(Cancellation(fact.attempt, "its run has ended"))
        case Completed() if attempt is not None and not attempt.state.is_closed:
            _record(rows, attempt, fact)
        case Released() | Lost() if attempt is not None and not attempt.state.is_closed:
            _close(rows, attempt, AttemptState.RELEASED if isinstance(fact, Released) else AttemptState.LOST)
        case _:
            pass


def _close(rows: Slice, attempt: AttemptRow, state: AttemptState) -> None:
    attempt.state = state
    attempt.ended_at = rows.now
    rows.dirty_attempts.add((attempt.node, attempt.item, attempt.number))


def _is_current(row: StepRow, attempt: AttemptRow) -> bool:
    return row.state is StepState.RUNNING and row.attempts == attempt.number


def _started(rows: Slice, row: StepRow, attempt: AttemptRow, fact: Started) -> None:
    if attempt.state is AttemptState.DISPATCHED:
        attempt.state, attempt.runner, attempt.started_at = AttemptState.RUNNING, fact.runner, rows.now
        rows.dirty_attempts.add((attempt.node, attempt.item, attempt.number))
    if (attempt.state.is_closed or not _is_current(row, attempt)) and not _may_adopt(rows, row, attempt):
        # Its runner works for nothing: it is told until it has stopped.
        rows.changes.cancellations.append(Cancellation(fact.attempt, "the attempt is closed"))


def _step_spec(rows: Slice, row: StepRow) -> StepSpec:
    spec = rows.plan.nodes[row.node].spec
    if not isinstance(spec, StepSpec):
        raise TypeError(f"{rows.plan.nodes[row.node].name} is not a step, yet has attempts")
    return spec


def _may_adopt(rows: Slice, row: StepRow, attempt: AttemptRow) -> bool:
    """Whether a success of this closed attempt would still count."""
    return attempt.state in _REVIVABLE and not row.state.is_terminal and _step_spec(rows, row).idempotent


def _completed(rows: Slice, row: StepRow, attempt: AttemptRow, fact: Completed) -> Steps:
    succeeded = fact.outcome is AttemptState.SUCCEEDED
    if attempt.state.is_closed:
        if not (succeeded and _may_adopt(rows, row, attempt)):
            return
        rows.note("attempt.adopted", row, attempt.number)
    _record(rows, attempt, fact)
    if row.state.is_terminal or not (succeeded or _is_current(row, attempt)):
        return
    if row.state is StepState.RUNNING and row.attempts != attempt.number:
        yield from _supersede_later(rows, row)
    if row.state is StepState.READY:
        rows.changes.unready.append(row.place)
    if row.key is not None:
        rows.changes.flights_over.append(row.key)
    yield from _take_outcome(rows, row, fact)


def _supersede_later(rows: Slice, row: StepRow) -> Steps:
    """An earlier attempt has succeeded: the current one works for nothing."""
    rows.cancel_attempt(row, "an earlier attempt has succeeded")
    place = (*row.place, row.attempts)
    if place not in rows.attempts:
        yield Attempts([place])
    _close(rows, rows.attempts[place], AttemptState.SUPERSEDED)


def _take_outcome(rows: Slice, row: StepRow, fact: Completed) -> Steps:
    match fact.outcome:
        case AttemptState.SUCCEEDED:
            _succeed(rows, row, fact)
        case AttemptState.INPUT_LOST:
            yield from lost_inputs.input_lost(rows, row, fact.lost_digest or "")
        case AttemptState.CANCELLED if rows.is_stopping:
            rows.end(row, StepState.CANCELLED, stopped_because(rows.run.stop))
        case AttemptState.CANCELLED:
            _lose(rows, row, "its runner stopped it", has_begun=True)
        case _:
            _failed(rows, row, fact.failure or Failure(kind=FailureKind.ERROR, message="it failed without a reason"))


def _record(rows: Slice, attempt: AttemptRow, fact: Completed) -> None:
    attempt.runner = fact.runner
    attempt.started_at = attempt.started_at or rows.now - int(fact.seconds * 1_000_000)
    attempt.seconds, attempt.cpu_seconds, attempt.peak_memory = fact.seconds, fact.cpu_seconds, fact.peak_memory_bytes
    attempt.failure = pack_failure(fact.failure) if fact.failure is not None else None
    attempt.log = fact.log.model_dump_json(exclude_defaults=True).encode() if fact.log is not None else None
    _close(rows, attempt, fact.outcome)


def _succeed(rows: Slice, row: StepRow, fact: Completed) -> None:
    rows.touch(row)
    row.set_outputs(fact.outputs)
    row.started_at = rows.now - int(fact.seconds * 1_000_000)
    row.flags |= SAW_IDENTITY if fact.saw_identity else 0
    rows.run.tags |= fact.tags
    rows.changes.findings.append(Finding(row.node, row.item, fact.attempt.attempt_no, fact))
    spec = _step_spec(rows, row)
    known = rows.cache.get(row.key or "")
    if known is not None and known.outputs != row.outputs:
        row.flags |= NONDETERMINISTIC
        rows.note("step.nondeterministic", row)
    if row.key is not None and spec.cache and not fact.saw_identity:
        entry = CacheRow(row.key, pack_values(fact.outputs), rows.run.run_no, rows.now, rows.now, row.node, row.item, fact.seconds)
        rows.changes.cache.append(entry)
        rows.cache[row.key] = entry
    rows.end(row, StepState.SUCCEEDED)


def _failed(rows: Slice, row: StepRow, failure: Failure) -> None:
    rows.touch(row)
    row.failures += 1
    if rows.is_stopping:
        row.failure = pack_failure(failure)
        rows.end(row, StepState.FAILED, failure.message)
        return
    seed = f"{rows.run.run_id}/{row.node}/{row.item}"
    may_have_more = failure.kind is FailureKind.MEMORY and rows.can_have_more_memory(row)
    is_granted = may_have_more and row.memory_raises == 0
    match after_failure(_step_spec(rows, row).retries, failure, row.failures, seed, rows.now, is_granted=is_granted):
        case Retry(at):
            if may_have_more:
                row.raise_memory()
            row.state = StepState.BACKOFF
            row.failure = pack_failure(failure)
            rows.changes.timers.append(TimerRow("retry", row.node, row.item, at))
            rows.note("step.retrying", row, row.attempts, at=at, reason=failure.message)
        case GiveUp():
            rows.fail(row, failure)


def _lose(rows: Slice, row: StepRow, reason: str, *, counts: bool = True, has_begun: bool = False, pause: bool = False) -> None:
    """The current attempt came to nothing, through no fault of the user's code. `has_begun`: user code may have been executed."""
    if row.state is not StepState.RUNNING:
        return
    rows.touch(row)
    if row.key is not None:
        rows.changes.flights_over.append(row.key)
    rows.note("attempt.lost", row, row.attempts, reason=reason)
    if rows.is_stopping:
        rows.end(row, StepState.CANCELLED, stopped_because(rows.run.stop))
        return
    row.losses += counts
    if row.losses > INFRASTRUCTURE_BUDGET:
        message = f"its attempts were lost {row.losses} times, the last one: {reason}"
        rows.fail(row, Failure(kind=FailureKind.ENVIRONMENT, message=message))
    elif has_begun and not _step_spec(rows, row).idempotent:
        message = f"its attempt was lost ({reason}), and it may not run twice"
        hint = "See how far it came; then rerun it with `penstock rerun`."
        rows.fail(row, Failure(kind=FailureKind.ENVIRONMENT, message=message, hint=hint))
    elif pause and (seconds := _PAUSES[min(row.losses, len(_PAUSES)) - 1]):
        row.state = StepState.BACKOFF
        rows.changes.timers.append(TimerRow("retry", row.node, row.item, rows.now + seconds * MICROSECONDS))
    else:
        rows.again(row)


# Claims


def deny(rows: Slice, fact: Claim, reason: str) -> None:
    """Tells a runner not to execute what it asks for."""
    rows.changes.answers.append((fact.reply_to, ClaimAnswer(asked=fact.attempt, granted=False, reason=reason)))


def _claim(rows: Slice, row: StepRow, attempt: AttemptRow, fact: Claim) -> Steps:
    if attempt.state is AttemptState.SUPERSEDED and row.state is StepState.RUNNING:
        yield Attempts([(*row.place, row.attempts)])
        current = rows.attempts[(*row.place, row.attempts)]
        if _is_held_by(current, fact):
            # It took the place of the one that is asked for, and the answer that said so was lost.
            _grant(rows, current, fact)
            return
    if attempt.state.is_closed or not _is_current(row, attempt):
        deny(rows, fact, "the attempt is closed")
    elif rows.is_stopping and attempt.state is AttemptState.DISPATCHED:
        deny(rows, fact, stopped_because(rows.run.stop))
        _close(rows, attempt, AttemptState.CANCELLED)
        rows.end(row, StepState.CANCELLED, stopped_because(rows.run.stop))
    elif _is_held_by(attempt, fact):
        # It has asked before, and the answer was lost.
        _grant(rows, attempt, fact)
    elif attempt.state is AttemptState.RUNNING and attempt.runner != fact.runner:
        # Presence decides whether its holder is gone; until then it is the holder's.
        deny(rows, fact, "another runner holds it")
    elif attempt.state is AttemptState.DISPATCHED and not attempt.runner and (fact.is_first or not _step_spec(rows, row).idempotent):
        _grant(rows, attempt, fact)
    elif not _step_spec(rows, row).idempotent:
        deny(rows, fact, "somebody may have begun it, and it may not run twice")
    elif row.losses >= INFRASTRUCTURE_BUDGET:
        deny(rows, fact, "its runners were lost too often")
        _close(rows, attempt, AttemptState.LOST)
        _lose(rows, row, "whoever had its order was lost")
    else:
        _supersede(rows, row, attempt, fact)


def _is_held_by(attempt: AttemptRow, fact: Claim) -> bool:
    """Whether the claimer itself, not an earlier process of its name, was granted this attempt."""
    return attempt.state is AttemptState.RUNNING and (attempt.runner, attempt.incarnation) == (fact.runner, fact.incarnation)


def _is_held_by_another(attempt: AttemptRow, runner: str) -> bool:
    return attempt.state is AttemptState.RUNNING and attempt.runner not in ("", runner)


def _grant(rows: Slice, attempt: AttemptRow, fact: Claim) -> None:
    attempt.incarnation = fact.incarnation
    attempt.state, attempt.runner, attempt.started_at = AttemptState.RUNNING, fact.runner, rows.now
    rows.dirty_attempts.add((attempt.node, attempt.item, attempt.number))
    key = fact.attempt.model_copy(update={"attempt_no": attempt.number})
    rows.changes.answers.append((fact.reply_to, ClaimAnswer(asked=fact.attempt, granted=True, attempt=key)))


def _supersede(rows: Slice, row: StepRow, attempt: AttemptRow, fact: Claim) -> None:
    """Whoever had the first delivery may still run it: the claimer gets an attempt of its own."""
    _close(rows, attempt, AttemptState.SUPERSEDED)
    rows.note("attempt.superseded", row, attempt.number, reason=f"its order came again, and {fact.runner} took it")
    rows.touch(row)
    row.attempts += 1
    row.losses += 1
    key = fact.attempt.model_copy(update={"attempt_no": row.attempts})
    rows.attempts[(*row.place, row.attempts)] = AttemptRow(
        node=row.node,
        item=row.item,
        number=row.attempts,
        state=AttemptState.RUNNING,
        pool=attempt.pool,
        slots=attempt.slots,
        runner=fact.runner,
        incarnation=fact.incarnation,
        made_at=rows.now,
        sent_at=rows.now,
        started_at=rows.now,
        is_new=True,
    )
    rows.dirty_attempts.add((*row.place, row.attempts))
    rows.changes.answers.append((fact.reply_to, ClaimAnswer(asked=fact.attempt, granted=True, attempt=key)))


def abandon(rows: Slice) -> Steps:
    """The grace of a stopped run is over: whoever still runs something for it is not waited for."""
    if not rows.is_stopping:
        return
    yield Running()
    keys = [key for key, row in rows.steps.items() if row.state is StepState.RUNNING]
    for row in [rows.steps[key] for key in keys]:
        yield Attempts([(*row.place, row.attempts)])
        _close(rows, rows.attempts[(*row.place, row.attempts)], AttemptState.LOST)
        rows.end(row, StepState.CANCELLED, "its runner did not answer")
