"""From a cause to its run: exactly one, or the reason why none. All of it happens in the transaction that decides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.errors import ContractError, InvalidInput
from penstock.contracts.event_views import DATA_IS_FETCHED
from penstock.contracts.messages import Cause, SubmitRun
from penstock.contracts.triggers import CronSource, OnDataSource, OnRunSource
from penstock.engine.core.plan import plan_of
from penstock.engine.events.dedupe import free_keys
from penstock.engine.events.records import KnownEvent, Verdict
from penstock.engine.events.start_rows import Start, StartState, find_start, insert_start, move_start, write_starts
from penstock.engine.events.triggers import Trigger
from penstock.engine.events.world import World
from penstock.engine.published.versions import version_tags
from penstock.engine.runs import ask_to_cancel, lock_numbers, submit, submit_all
from penstock.engine.triggers.causes import cause_of_events, cause_of_key, run_id_of
from penstock.engine.triggers.holding import Queue, Replace, Skip, placed, throttled_until
from penstock.engine.triggers.holding import Start as Begin
from penstock.engine.triggers.mapping import Fetch, Refused, concurrency_key, mapped

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
    plain: list[tuple[Group, Start]] = []
    _lock_numbers(world, groups)
    for place_in_order, group in enumerate(sorted(groups, key=lambda group: group.trigger.pipeline)):
        start = _start(world, group, world.now + place_in_order)
        if isinstance(start, Verdict):
            world.record.note(group.occurrences, group.trigger.trigger_no, start)
        elif start.fetches or _is_limited(group.trigger):
            world.record.note(group.occurrences, group.trigger.trigger_no, _taken(world, group, start))
        else:
            plain.append((group, start))
    _submit_all(world, plain)


def _lock_numbers(world: World, groups: Sequence[Group]) -> None:
    """All at once where runs are made one by one and together, which are two orders; else they are locked where they are made."""
    pipelines = sorted({(group.trigger.workspace, group.trigger.pipeline) for group in groups})
    if len(pipelines) > 1 and any(_is_limited(group.trigger) for group in groups):
        for workspace, pipeline in pipelines:
            lock_numbers(world.connection, workspace, pipeline)


def _is_limited(trigger: Trigger) -> bool:
    """Whether its runs may have to wait for each other."""
    return trigger.spec.throttle is not None or trigger.spec.concurrency is not None


def _submit_all(world: World, starts: Sequence[tuple[Group, Start]]) -> None:
    """Makes runs that wait for nothing, together."""
    for workspace, some in groupby(sorted(starts, key=_workspace), key=_workspace):
        known = list(some)
        requests = [_request(world, group.trigger, start, group.events) for group, start in known]
        made = submit_all(world.connection, workspace, requests, world.now)
        written: list[Start] = []
        for (group, start), request, result in zip(known, requests, made, strict=True):
            if isinstance(result, int):
                written.append(replace(start, state="started", run_id=request.run_id))
                verdict = Verdict("started", run_id=request.run_id)
                world.record.decided.begun.append(result)
            else:
                written.append(replace(start, state="refused", reason=str(result)))
                verdict = Verdict("refused", str(result))
            world.record.note(group.occurrences, group.trigger.trigger_no, verdict)
        write_starts(world.connection, written)


def _workspace(start: tuple[Group, Start]) -> str:
    return start[0].trigger.workspace


def _start(world: World, group: Group, made_at: int) -> Start | Verdict:
    """What the run of a group would be made of; or why there is none. Starts that wait have their turn in the order of `made_at`."""
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
        free_keys(world.connection, trigger, group.events)
        return Verdict("refused", result.reason)
    key = concurrency_key(trigger.spec, events)
    if isinstance(key, Refused):
        return Verdict("refused", key.reason)
    return Start(
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
        made_at=made_at,
    )


def _taken(world: World, group: Group, start: Start) -> Verdict:
    """Takes the cause; its run is made when its data is there and its turn has come."""
    trigger = group.trigger
    if not insert_start(world.connection, start, world.now):
        return _as_before(world, start)
    if start.fetches:
        return settle(world, trigger, start, "fetch", DATA_IS_FETCHED)
    return place(world, trigger, start, group.events)


def place(world: World, trigger: Trigger, start: Start, events: Sequence[KnownEvent], *, is_next: bool = False) -> Verdict:
    """Makes the run of a start, where throttle and concurrency let it; else it waits or is left out. `is_next`: it is its turn."""
    if world.is_disabled(trigger, start.spec_digest):
        return settle(world, trigger, start, "failed", f"the version of {trigger.pipeline} that it was to run is disabled")
    waits = not is_next and world.has_queue(trigger, start)
    at = _throttled_until(world, trigger, waits=waits)
    if at is not None:
        return _waiting(world, trigger, start, "more than its throttle lets through", at)
    policy = trigger.spec.concurrency
    if policy is not None:
        live = dict(world.live_runs(trigger, start.key))
        match placed(policy, list(live), others_wait=waits):
            case Queue():
                return _waiting(world, trigger, start, f"{len(live)} of its runs go on, {policy.limit} at most", world.now)
            case Skip(reason):
                return settle(world, trigger, start, "skipped", reason)
            case Replace(run_ids):
                for run_id in run_ids:
                    ask_to_cancel(world.connection, live[run_id], world.now)
                    world.live_runs(trigger, start.key).remove((run_id, live[run_id]))
            case Begin():
                pass
    return _submit(world, trigger, start, events)


def _waiting(world: World, trigger: Trigger, start: Start, reason: str, due_at: int) -> Verdict:
    if start.reason == reason:
        # It is looked at every second; nothing is written where nothing has changed.
        return Verdict("waiting", reason)
    return settle(world, trigger, start, "queue", reason, due_at=due_at)


def settle(world: World, trigger: Trigger, start: Start, state: StartState, reason: str, *, due_at: int | None = None) -> Verdict:
    """Writes down that no run was made of it for now, or ever; and what that is to its events."""
    move_start(world.connection, start, state, due_at=world.now if due_at is None else due_at, reason=reason, tries=start.tries)
    world.record.decided.fetches = world.record.decided.fetches or state == "fetch"
    return Verdict("waiting" if state in ("fetch", "queue") else "skipped" if state == "skipped" else "failed", reason)


def _submit(world: World, trigger: Trigger, start: Start, events: Sequence[KnownEvent]) -> Verdict:
    request = _request(world, trigger, start, events)
    run_id = request.run_id
    try:
        run_no, _ = submit(world.connection, request, world.now)
    except ContractError as error:
        move_start(world.connection, start, "refused", due_at=world.now, reason=str(error))
        return Verdict("refused", str(error))
    move_start(world.connection, start, "started", due_at=world.now, run_id=run_id)
    world.record.decided.begun.append(run_no)
    world.note_begun(trigger, start.key, run_id, run_no)
    return Verdict("started", run_id=run_id)


def _request(world: World, trigger: Trigger, start: Start, events: Sequence[KnownEvent]) -> SubmitRun:
    return SubmitRun(
        workspace=trigger.workspace,
        run_id=run_id_of(trigger.workspace, trigger.name, start.cause),
        spec=world.spec(trigger.workspace, start.spec_digest),
        parameters=start.values,
        tags={**trigger.spec.tags, **_version_tags(world, trigger, start), **_origin_tags(world, trigger, start, events)},
        experiment=trigger.spec.experiment,
        cause=cause_of(trigger, events),
        owner=world.owner,
    )


def _version_tags(world: World, trigger: Trigger, start: Start) -> dict[str, str]:
    """Which version it is of, where the pipeline is still at that."""
    try:
        resolved = world.pipeline(trigger)
    except InvalidInput:
        return {}
    return version_tags(resolved) if resolved.spec_digest == start.spec_digest else {}


def _origin_tags(world: World, trigger: Trigger, start: Start, events: Sequence[KnownEvent]) -> dict[str, str]:
    """Of which object, in what state, each file was fetched, as a run tells that reads its inputs itself."""
    files = {name: value for name, value in start.values.items() if isinstance(value, ArtifactRef) and not value.is_inline}
    if not files:
        return {}
    spec = plan_of(world.spec(trigger.workspace, start.spec_digest)).spec
    result = mapped(trigger.spec, spec, [one.event for one in events])
    named = {} if isinstance(result, Refused) else result.parameters
    return {
        f"input.{name}": " ".join(filter(None, (wanted.uri, wanted.mark, files[name].digest)))
        for name, wanted in named.items()
        if isinstance(wanted, Fetch) and name in files
    }


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
