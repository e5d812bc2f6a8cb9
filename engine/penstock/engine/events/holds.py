"""Events that a trigger holds: for the others of a join, until nothing else comes, until a batch is full."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.contracts.triggers import AllSource, CronSource, OnDataSource, OnEventSource, OnRunSource
from penstock.engine.events.held_rows import HoldKey, load_held, write_held
from penstock.engine.events.making import Group, group_of
from penstock.engine.events.records import KnownEvent, Verdict, load
from penstock.engine.events.triggers import Trigger
from penstock.engine.events.world import World
from penstock.engine.triggers.arrivals import Arrival
from penstock.engine.triggers.holding import batched, debounced
from penstock.engine.triggers.joins import joined, missing_members
from penstock.engine.triggers.matching import Keys


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of the events of one key."""

    groups: Sequence[tuple[Arrival, ...]]
    remaining: Sequence[Arrival]
    waits_for: str
    until: int | None
    superseded: Sequence[Arrival] = ()
    expired: Sequence[Arrival] = ()


@dataclass(slots=True)
class Holds:
    """What has come for the triggers that hold events, in one transaction."""

    world: World
    _arrived: dict[HoldKey, list[Arrival]] = field(default_factory=lambda: defaultdict[HoldKey, list[Arrival]](list))
    _triggers: dict[int, Trigger] = field(default_factory=dict[int, Trigger])
    _events: dict[int, KnownEvent] = field(default_factory=dict[int, KnownEvent])

    def take(self, trigger: Trigger, event: KnownEvent, matched: Mapping[int, Keys]) -> Group | None:
        """The event as a group by itself, or None: it is held with those that came before. `matched`: keys by the sources that took it."""
        spec = trigger.spec
        keys = next(iter(matched.values()))
        if isinstance(spec.on, AllSource):
            for member, own in matched.items():
                self._hold(HoldKey(trigger.trigger_no, "join", own.join or ""), trigger, event, member)
        elif spec.debounce is not None:
            self._hold(HoldKey(trigger.trigger_no, "debounce", keys.debounce or ""), trigger, event, 0)
        elif spec.batch is not None:
            self._hold(HoldKey(trigger.trigger_no, "batch", keys.batch or ""), trigger, event, 0)
        else:
            return group_of(trigger, [event], keys.dedupe)
        return None

    def look_at(self, key: HoldKey, trigger: Trigger) -> None:
        """Something is to be done about what is held under `key`, though nothing has come."""
        self._triggers[trigger.trigger_no] = trigger
        self._arrived.setdefault(key, [])

    def settle(self) -> list[Group]:
        """Decides about everything that is held and has come; the groups that are complete."""
        if not self._arrived:
            return []
        held = load_held(self.world.connection, self._arrived)
        groups: list[Group] = []
        for key, arrived in self._arrived.items():
            before = held.get(key, [])
            outcome = _outcome(self._triggers[key.trigger_no], key, before, arrived, self.world.now)
            write_held(self.world.connection, key, before, outcome.remaining, outcome.until)
            self._note(key, outcome)
            groups += self._groups(key, outcome)
        return groups

    def _hold(self, key: HoldKey, trigger: Trigger, event: KnownEvent, member: int) -> None:
        self._triggers[trigger.trigger_no] = trigger
        self._events[event.event_no] = event
        self._arrived[key].append(Arrival(event_no=event.event_no, replay=event.replay, member=member, received_us=event.received_at))

    def _note(self, key: HoldKey, outcome: _Outcome) -> None:
        def note(arrivals: Iterable[Arrival], verdict: Verdict) -> None:
            self.world.record.note([arrival.occurrence for arrival in arrivals], key.trigger_no, verdict)

        note((one for one in outcome.remaining if one in self._arrived[key]), Verdict("waiting", outcome.waits_for))
        note(outcome.superseded, Verdict("superseded", "a later one took its place"))
        note(outcome.expired, Verdict("expired", "the others of the join did not come in time"))

    def _groups(self, key: HoldKey, outcome: _Outcome) -> list[Group]:
        arrivals = [arrival for group in outcome.groups for arrival in group]
        self._events |= load(self.world.connection, {one.event_no for one in arrivals} - self._events.keys())
        trigger = self._triggers[key.trigger_no]
        return [group_of(trigger, [self._event(arrival) for arrival in group]) for group in outcome.groups]

    def _event(self, arrival: Arrival) -> KnownEvent:
        return self._events[arrival.event_no].at_replay(arrival.replay)


def _outcome(trigger: Trigger, key: HoldKey, held: Sequence[Arrival], arrived: Sequence[Arrival], now: int) -> _Outcome:
    spec = trigger.spec
    if key.why == "join" and isinstance(spec.on, AllSource):
        join = joined(spec.on, held, arrived, now)
        missing = ", ".join(source_text(spec.on, member) for member in missing_members(spec.on, join.remaining))
        return _Outcome(join.groups, join.remaining, f"waits for {missing}", join.until_us, join.superseded, join.expired)
    if key.why == "debounce" and spec.debounce is not None:
        burst = debounced(spec.debounce, [*held, *arrived], now)
        waits_for = f"waits until nothing else came for {spec.debounce.seconds:g} seconds"
        return _Outcome([(one,) for one in burst.fire], burst.remaining, waits_for, burst.until_us, burst.superseded)
    assert spec.batch is not None  # noqa: S101 - held for a batch; those of another definition are decided again
    batch = batched(spec.batch, [*held, *arrived], now)
    waits_for = f"waits for a batch of {spec.batch.size}, {len(batch.remaining)} so far"
    return _Outcome(batch.groups, batch.remaining, waits_for, batch.until_us)


def source_text(source: AllSource, member: int) -> str:
    """A source of a join, for people."""
    match source.of[member]:
        case OnEventSource() as one:
            return one.type
        case CronSource() as one:
            return f"the schedule {one.schedule}"
        case OnDataSource() as one:
            return one.uri
        case OnRunSource() as one:
            return f"a run of {one.pipeline}"
