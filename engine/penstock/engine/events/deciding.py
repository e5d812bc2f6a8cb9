"""Every trigger decides every event that its source takes, once: in one transaction the event is done, the decisions are kept, and the runs
are made. What a crash leaves undone is decided by whoever comes next; of one cause there is one run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection

from penstock.contracts.cloud_events import ReceivedEvent
from penstock.engine.events.ancestry import why_looped
from penstock.engine.events.dedupe import duplicate_of
from penstock.engine.events.held_rows import HoldKey, due_holds, load_held, write_held
from penstock.engine.events.holds import Holds
from penstock.engine.events.inheritance import AGAIN
from penstock.engine.events.intake import store_decided
from penstock.engine.events.look_rows import hint_by
from penstock.engine.events.making import Group, make_runs
from penstock.engine.events.records import Decided, KnownEvent, Record, Verdict, load, mark_done, take, take_new
from penstock.engine.events.triggers import Trigger, can_be_read, live_triggers, lock_trigger, locked, share_triggers
from penstock.engine.events.world import World
from penstock.engine.triggers.matching import Keys, Matched, NotMatched, match, members_for, trigger_source

AT_ONCE = 300


@dataclass(frozen=True, slots=True)
class _Pair:
    """An event, and a trigger with those of its sources that take it."""

    event: KnownEvent
    trigger: Trigger
    members: tuple[int, ...]


def take_in(connection: Connection, received: Sequence[ReceivedEvent], now: int, owner: str | None = None) -> Decided:
    """Keeps events and decides those that are new, in one transaction."""
    stored = store_decided(connection, received)
    events = [
        KnownEvent(kept.event_no, one.workspace, 0, one.received_at, one.via, one.event)
        for one, kept in zip(received, stored, strict=True)
        if kept.is_new
    ]
    decided = _decided(connection, events, now, owner)
    decided.received = len(stored)
    decided.stored = len(events)
    decided.conflicts = sum(one.is_conflict for one in stored)
    return decided


def decide(connection: Connection, event_nos: Sequence[int], now: int, owner: str | None = None) -> Decided:
    """Decides those of the events that nobody has."""
    events = take(connection, event_nos)
    decided = _decided(connection, events, now, owner)
    mark_done(connection, events)
    return decided


def decide_new(connection: Connection, now: int, owner: str | None = None, count: int = AT_ONCE) -> Decided:
    """Decides what was left undecided, the oldest first; what somebody else decides at this moment is left to them."""
    events = take_new(connection, count)
    decided = _decided(connection, events, now, owner)
    mark_done(connection, events)
    return decided


def _decided(connection: Connection, events: Sequence[KnownEvent], now: int, owner: str | None) -> Decided:
    record = Record(now)
    record.decided.events = len(events)
    if not events:
        return record.decided
    world = World(connection, now, owner, record)
    groups: list[Group] = []
    by_workspace = sorted(events, key=lambda event: event.workspace)
    for workspace, some in groupby(by_workspace, key=lambda event: event.workspace):
        groups += _decide_in(world, workspace, list(some))
    make_runs(world, groups)
    record.write(connection)
    return record.decided


def _decide_in(world: World, workspace: str, events: Sequence[KnownEvent]) -> list[Group]:
    share_triggers(world.connection, workspace)
    hint_by(world.connection, workspace, [one.event for one in events], world.now)
    triggers = [trigger for trigger in live_triggers(world.connection, workspace) if trigger.state != "inert"]
    pairs = list(_pairs(events, [trigger for trigger in triggers if can_be_read(trigger)]))
    _note_unreadable(world, events, [trigger for trigger in triggers if not can_be_read(trigger)])
    stateful = {pair.trigger.name for pair in pairs if has_state(pair.trigger)}
    for name in sorted(stateful):
        lock_trigger(world.connection, workspace, name)
    holds = Holds(world)
    groups: list[Group] = []
    for pair in pairs:
        group = consider(world, holds, pair.event, pair.trigger, pair.members)
        groups += [] if group is None else [group]
    return groups + holds.settle()


def _pairs(events: Sequence[KnownEvent], triggers: Sequence[Trigger]) -> Iterator[_Pair]:
    for event in events:
        for trigger in triggers:
            members = members_for(trigger.spec, event.event, trigger_source(trigger.workspace, trigger.name))
            if members:
                yield _Pair(event, trigger, tuple(members))


def _note_unreadable(world: World, events: Sequence[KnownEvent], triggers: Sequence[Trigger]) -> None:
    """What one trigger can't do must not keep the others from the events."""
    verdict = Verdict("failed", "the trigger's definition can't be read: declare it anew, then replay the event")
    for trigger in triggers:
        world.record.note([event.occurrence for event in events], trigger.trigger_no, verdict)


def has_state(trigger: Trigger) -> bool:
    """Whether what it makes of an event depends on others, so that two transactions must not decide by it at once."""
    spec = trigger.spec
    return spec.on.kind == "all" or any(
        part is not None for part in (spec.dedupe, spec.debounce, spec.batch, spec.throttle, spec.concurrency)
    )


def consider(world: World, holds: Holds, event: KnownEvent, trigger: Trigger, members: Sequence[int]) -> Group | None:
    """The event as a group that is to become a run. None: it is held, or nothing comes of it, which is noted."""
    try:
        results = [match(trigger.spec, member, event.event) for member in members]
    except Exception as error:  # noqa: BLE001 - what one trigger can't do must not keep the others from the event
        world.record.note([event.occurrence], trigger.trigger_no, Verdict("failed", f"internal error, please report it: {error!r}"))
        return None
    matched = {member: result.keys for member, result in zip(members, results, strict=True) if isinstance(result, Matched)}
    if matched:
        verdict = _objection(world, event, trigger, next(iter(matched.values())))
    else:
        verdict = Verdict("not_matched", "; ".join(result.reason for result in results if isinstance(result, NotMatched)))
    if verdict is None:
        return holds.take(trigger, event, matched)
    world.record.note([event.occurrence], trigger.trigger_no, verdict)
    return None


def _objection(world: World, event: KnownEvent, trigger: Trigger, keys: Keys) -> Verdict | None:
    """Why nothing comes of an event that matches; None where nothing speaks against it."""
    if trigger.state == "paused":
        return Verdict("paused", "the trigger is paused")
    loop = why_looped(world.connection, trigger, event)
    if loop is not None:
        return Verdict("looped", loop)
    if keys.dedupe is None:
        return None
    return duplicate_of(world.connection, trigger, event, keys.dedupe, world.now)


def release_due(connection: Connection, now: int, owner: str | None = None) -> Decided:
    """Does what is due about held events though nothing has come: bursts that are over, batches whose time is, joins that expire."""
    world = World(connection, now, owner, Record(now))
    due = due_holds(connection, now)
    triggers = {trigger.trigger_no: trigger for trigger in locked(connection, {key.trigger_no for key in due})}
    holds = Holds(world)
    groups: list[Group] = []
    for key in due:
        trigger = triggers.get(key.trigger_no)
        if trigger is None or trigger.state != "on":
            continue
        if key.why == AGAIN:
            groups += _again(world, holds, trigger, key)
        else:
            holds.look_at(key, trigger)
    make_runs(world, groups + holds.settle())
    world.record.write(connection)
    return world.record.decided


def _again(world: World, holds: Holds, trigger: Trigger, key: HoldKey) -> Iterator[Group]:
    """Has a trigger that was changed decide once more what its earlier version held."""
    held = load_held(world.connection, [key])[key]
    write_held(world.connection, key, held, (), None)
    events = load(world.connection, (arrival.event_no for arrival in held))
    for occurrence in sorted({arrival.occurrence for arrival in held}):
        event = events[occurrence[0]].at_replay(occurrence[1])
        members = members_for(trigger.spec, event.event, trigger_source(trigger.workspace, trigger.name))
        if members:
            group = consider(world, holds, event, trigger, members)
            yield from [] if group is None else [group]
        else:
            world.record.note([occurrence], trigger.trigger_no, Verdict("not_matched", "the trigger was changed"))
