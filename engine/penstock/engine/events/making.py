"""From a cause to its run: exactly one, or the reason why none. All of it happens in the transaction that decides."""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.contracts.errors import ContractError
from penstock.contracts.messages import Cause, SubmitRun
from penstock.contracts.triggers import CronSource, OnDataSource, OnRunSource
from penstock.engine.core.plan import plan_of
from penstock.engine.events.records import KnownEvent, Verdict
from penstock.engine.events.start_rows import Start, StartState, find_start, insert_start, move_start
from penstock.engine.events.triggers import Trigger
from penstock.engine.events.world import World
from penstock.engine.runs import ask_to_cancel, submit
from penstock.engine.triggers.causes import cause_of_events, cause_of_key, run_id_of
from penstock.engine.triggers.holding import Queue, Replace, Skip, placed, throttled_until
from penstock.engine.triggers.holding import Start as Begin
from penstock.engine.triggers.mapping import Refused, concurrency_key, mapped

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Group:
    """Events that make one run together: one, those of a join or those of a batch, in order."""

    trigger: Trigger
    events: tuple[KnownEvent, ...]
    cause: str
    """Digest of what the run is for: the same events make the same run, replayed ones another."""

    @property
    def occurrences(self) -> tuple[tuple[int, int], ...]:
        return tuple(event.occurrence for event in self.events)


def group_of(trigger: Trigger, events: Sequence[KnownEvent], dedupe: str | None = None) -> Group:
    """`dedupe` is the key of a single event: whatever event has it, it is one cause."""
    if dedupe is not None and not events[0].replay:
        cause = cause_of_key(dedupe)
    else:
        cause = cause_of_events((one.event.source, one.event.id, one.replay) for one in events)
    return Group(trigger, tuple(events), cause)


def make_runs(world: World, groups: Sequence[Group]) -> None:
    """Makes of each group its run, or a start that waits. By pipelines, so that nobody waits in a circle for the numbers of runs."""
    for group in sorted(groups, key=lambda group: group.trigger.pipeline):
        world.record.note(group.occurrences, group.trigger.trigger_no, _made(world, group))


def _made(world: World, group: Group) -> Verdict:
    trigger, events = group.trigger, [one.event for one in group.events]
    try:
        resolved = world.pipeline(trigger)
        spec = plan_of(world.spec(trigger.workspace, resolved.spec_digest)).spec
    except ContractError as error:
        return _unmade(world, group, "", str(error))
    if resolved.state == "disabled":
        return _unmade(world, group, resolved.spec_digest, f"the version {resolved.version} of {resolved.name} is disabled")
    try:
        result = mapped(trigger.spec, spec, events)
    except Exception as error:  # noqa: BLE001 - as where it is matched
        return _unmade(world, group, resolved.spec_digest, f"internal error, please report it: {error!r}")
    if isinstance(result, Refused):
        return Verdict("refused", result.reason)
    key = concurrency_key(trigger.spec, events)
    if isinstance(key, Refused):
        return Verdict("refused", key.reason)
    start = Start(
        trigger_no=trigger.trigger_no,
        cause=group.cause,
        occurrences=group.occurrences,
        state="queue",
        reason="",
        run_id=None,
        key=key,
        parameters=result.parameters,
        spec_digest=resolved.spec_digest,
        tries=0,
        due_at=world.now,
        made_at=world.now,
    )
    if not insert_start(world.connection, start, world.now):
        return _as_before(world, start)
    if start.fetches:
        return settle(world, trigger, start, "fetch", "data is fetched")
    return place(world, trigger, start, group.events)


def place(world: World, trigger: Trigger, start: Start, events: Sequence[KnownEvent], *, is_next: bool = False) -> Verdict:
    """Makes the run of a start, where throttle and concurrency let it; else it waits or is left out. `is_next`: it is its turn."""
    waits = not is_next and world.has_queue(trigger, start)
    at = _throttled_until(world, trigger, waits=waits)
    if at is not None:
        return settle(world, trigger, start, "queue", "more than its throttle lets through", due_at=at)
    policy = trigger.spec.concurrency
    if policy is not None:
        live = dict(world.live_runs(trigger, start.key))
        match placed(policy, list(live), others_wait=waits):
            case Queue():
                return settle(world, trigger, start, "queue", f"{len(live)} of its runs go on, {policy.limit} at most")
            case Skip(reason):
                return settle(world, trigger, start, "skipped", reason)
            case Replace(run_ids):
                for run_id in run_ids:
                    ask_to_cancel(world.connection, live[run_id], world.now)
                    world.live_runs(trigger, start.key).remove((run_id, live[run_id]))
            case Begin():
                pass
    return _submit(world, trigger, start, events)


def settle(world: World, trigger: Trigger, start: Start, state: StartState, reason: str, *, due_at: int | None = None) -> Verdict:
    """Writes down that no run was made of it for now, or ever; and what that is to its events."""
    move_start(world.connection, start, state, due_at=world.now if due_at is None else due_at, reason=reason, tries=start.tries)
    world.record.decided.fetches = world.record.decided.fetches or state == "fetch"
    return Verdict("waiting" if state in ("fetch", "queue") else "skipped" if state == "skipped" else "failed", reason)


def _submit(world: World, trigger: Trigger, start: Start, events: Sequence[KnownEvent]) -> Verdict:
    run_id = run_id_of(trigger.workspace, trigger.name, start.cause)
    request = SubmitRun(
        workspace=trigger.workspace,
        run_id=run_id,
        spec=world.spec(trigger.workspace, start.spec_digest),
        parameters=start.values,
        tags=trigger.spec.tags,
        experiment=trigger.spec.experiment,
        cause=cause_of(trigger, events),
        owner=world.owner,
    )
    try:
        run_no, _ = submit(world.connection, request, world.now)
    except ContractError as error:
        move_start(world.connection, start, "refused", due_at=world.now, reason=str(error))
        return Verdict("refused", str(error))
    move_start(world.connection, start, "started", due_at=world.now, run_id=run_id)
    world.record.decided.begun.append(run_no)
    if trigger.spec.concurrency is not None:
        world.live_runs(trigger, start.key)
        if (run_id, run_no) not in world.going_on[trigger.trigger_no, start.key]:
            world.going_on[trigger.trigger_no, start.key].append((run_id, run_no))
    if trigger.trigger_no in world.begun:
        world.begun[trigger.trigger_no].insert(0, world.now)
    return Verdict("started", run_id=run_id)


def cause_of(trigger: Trigger, events: Sequence[KnownEvent]) -> Cause:
    """Why the run exists; it passes on where the first of its events came from."""
    match trigger.spec.on:
        case CronSource():
            kind = "schedule"
        case OnDataSource():
            kind = "data"
        case OnRunSource():
            kind = "run"
        case _:
            kind = "event"
    return Cause(
        kind=kind,
        of=events[-1].event.id,
        trigger=trigger.name,
        events=tuple(one.event_no for one in events),
        correlation_id=events[0].event.correlation_id,
        hops=max(one.event.hops for one in events),
    )


def _throttled_until(world: World, trigger: Trigger, *, waits: bool) -> int | None:
    throttle = trigger.spec.throttle
    if throttle is None:
        return None
    since = world.now - int(throttle.seconds * _MICROSECONDS)
    at = throttled_until(throttle, world.last_begun(trigger, since, throttle.count), world.now)
    return world.now if at is None and waits else at


def _unmade(world: World, group: Group, spec_digest: str, reason: str) -> Verdict:
    """There is a cause, and no pipeline that would run: once there is, it can be tried again."""
    trigger = group.trigger
    start = Start(trigger.trigger_no, group.cause, group.occurrences, "queue", reason, None, "", {}, spec_digest, 0, world.now, world.now)
    if not insert_start(world.connection, start, world.now):
        return _as_before(world, start)
    return settle(world, trigger, start, "failed", reason)


def _as_before(world: World, start: Start) -> Verdict:
    """That cause was decided; so is it still."""
    found = find_start(world.connection, start.trigger_no, start.cause)
    assert found is not None  # noqa: S101 - it is why nothing was inserted
    if found.state == "started":
        return Verdict("started", run_id=found.run_id)
    if found.state == "fetch" or found.state == "queue":
        return Verdict("waiting", found.reason)
    return Verdict("skipped" if found.state == "skipped" else "refused" if found.state == "refused" else "failed", found.reason)
