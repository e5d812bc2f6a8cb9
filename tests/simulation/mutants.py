# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# A bug is put where the code is, and that is private.
"""The bug zoo: deliberate bugs that the simulation has to find. Each is one exchanged function, present for as long as its context."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from penstock.contracts.messages import Failure, Heartbeat
from penstock.contracts.names import lane_of
from penstock.contracts.spec import RetrySpec
from penstock.contracts.states import AttemptState, StepState
from penstock.engine import batch, dispatcher, limits, orders, slice_writer, timers
from penstock.engine.core import attempts, decision, fan
from penstock.engine.core import slice as slice_
from penstock.engine.core.retry import GiveUp, Retry, after_failure
from penstock.engine.core.slice import Slice
from penstock.engine.inbox import Inbox
from penstock.engine.lanes import LaneWatch
from penstock.engine.presence import Presence
from penstock.engine.statement import Statement
from penstock.engine.upkeep import Upkeep
from penstock.runners import presence, slots
from tests.simulation.bus import SimDelivery
from tests.simulation.store import SimStore

Mutant = Callable[[], AbstractContextManager[None]]
MUTANTS: dict[str, Mutant] = {}


@contextmanager
def exchanged(owner: Any, name: str, value: Any) -> Generator[None]:
    """`owner.name` is `value` inside."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def mutant(make: Callable[[], AbstractContextManager[None]]) -> Callable[[], AbstractContextManager[None]]:
    """Registers a bug under its name."""
    MUTANTS[make.__name__] = make
    return make


def without(statement: str) -> AbstractContextManager[None]:
    """A statement of the slice writer that does nothing."""
    return exchanged(slice_writer, statement, _Idle())


class _Idle:
    """A statement that is never sent."""

    def __call__(self, _connection: object, **_values: object) -> int:
        return 0

    def many(self, _connection: object, _rows: object) -> None:
        return


# What is durable, and when


@mutant
def acknowledges_before_the_commit() -> AbstractContextManager[None]:
    deliver = Inbox.deliver

    async def hasty(self: Inbox, delivery: Any) -> None:
        await delivery.acknowledge()
        await deliver(self, delivery)

    return exchanged(Inbox, "deliver", hasty)


@mutant
def performs_what_was_not_committed() -> AbstractContextManager[None]:
    class Hasty(Exception):
        pass

    async def transaction(self: SimStore, function: Any) -> Any:
        database = self._database
        result: list[Any] = []

        def kept(connection: Any) -> Any:
            result.append(function(connection))
            if database.faults.rolled_back and database.rng.random() < database.faults.rolled_back:
                raise Hasty
            return result[-1]

        await asyncio.sleep(0)
        with suppress(Hasty):
            database.write(kept)
        return result[-1]

    return exchanged(SimStore, "transaction", transaction)


@mutant
def never_sends_an_order_again() -> AbstractContextManager[None]:
    async def idle(self: Upkeep, now: int, unheld: object) -> None:
        return

    return exchanged(Upkeep, "_send_again", idle)


@mutant
def sends_an_order_again_as_if_it_were_the_first() -> AbstractContextManager[None]:
    async def bold(self: Upkeep, now: int, unheld: Any) -> None:
        orders = await self._store.read(lambda connection: self._dispatcher.unsent(connection, now - 2_000_000, now - 30_000_000))
        for order, was_sent in orders:
            if not self._duties.is_pending(order.attempt) and (not was_sent or order.attempt in unheld):
                await self._duties.send(order)

    return exchanged(Upkeep, "_send_again", bold)


@mutant
def leaves_the_chores_of_the_dead() -> AbstractContextManager[None]:
    async def idle(self: Upkeep, owner: object) -> None:
        return

    return exchanged(Upkeep, "_take_up_chores", idle)


# Fences


@mutant
def believes_every_report() -> AbstractContextManager[None]:
    return exchanged(batch, "_is_genuine", lambda *_: True)


@mutant
def takes_reports_of_closed_attempts() -> AbstractContextManager[None]:
    completed = attempts._completed

    def gullible(rows: Any, row: Any, attempt: Any, fact: Any) -> Any:
        if attempt.state.is_closed and not row.state.is_terminal:
            attempt.state = AttemptState.RUNNING
        return completed(rows, row, attempt, fact)

    @contextmanager
    def both() -> Generator[None]:
        with exchanged(attempts, "_completed", gullible), exchanged(attempts, "_is_current", lambda *_: True):
            yield

    return both()


@mutant
def grants_what_somebody_may_have_begun() -> AbstractContextManager[None]:
    return exchanged(attempts, "_supersede", lambda rows, row, attempt, fact: attempts._grant(rows, attempt, fact))


@mutant
def ignores_that_a_delivery_is_a_second_one() -> AbstractContextManager[None]:
    return exchanged(SimDelivery, "redelivered", property(lambda self: False))


@mutant
def lets_careful_steps_begin_unasked() -> AbstractContextManager[None]:
    order = orders.Orders.order

    def careless(self: Any, *given: Any) -> Any:
        return order(self, *given).model_copy(update={"must_claim": False})

    return exchanged(orders.Orders, "order", careless)


@mutant
def repeats_what_may_not_run_twice() -> AbstractContextManager[None]:
    lose = attempts._lose

    def forgetful(rows: Any, row: Any, reason: str, *, counts: bool = True, has_begun: bool = False) -> None:
        lose(rows, row, reason, counts=counts)

    return exchanged(attempts, "_lose", forgetful)


# Presence


@mutant
def judges_by_the_clock_instead_of_its_own_ticks() -> AbstractContextManager[None]:
    lost: Any = Presence.lost

    def hasty(self: Any, live: Any) -> Any:
        self._last_tick = asyncio.get_running_loop().time()
        self._steady_since = 0.0
        return lost(self, live)

    return exchanged(Presence, "lost", hasty)


@mutant
def overlooks_its_own_deafness() -> AbstractContextManager[None]:
    returned: Any = Presence.tick_returned

    def deaf(self: Any, sent_at: float) -> None:
        self.gap = 1e9
        returned(self, sent_at)

    return exchanged(Presence, "tick_returned", deaf)


@mutant
def names_no_attempts_in_heartbeats() -> AbstractContextManager[None]:
    def silent(*, attempts: object, **values: Any) -> Heartbeat:
        return Heartbeat(**values)

    return exchanged(presence, "Heartbeat", silent)


@mutant
def never_takes_a_runner_for_dead() -> AbstractContextManager[None]:
    return exchanged(Presence, "lost", lambda self, live: [])


# Lanes


@mutant
def leaves_what_waits_in_dead_lanes() -> AbstractContextManager[None]:
    async def idle(self: LaneWatch, lane: object) -> None:
        return

    return exchanged(LaneWatch, "_settle", idle)


@mutant
def leaves_what_was_sent_to_dead_lanes() -> AbstractContextManager[None]:
    async def idle(self: LaneWatch, lane: object) -> None:
        return

    return exchanged(LaneWatch, "_give_up", idle)


@mutant
def serves_code_that_nobody_has() -> AbstractContextManager[None]:
    def careless(run: Any, step: Any, lanes: Any) -> Any:
        lane = lane_of(run.pipeline, step.name)
        return lane if (run.workspace, lane) in lanes else None

    return exchanged(slice_, "lane_if_served", careless)


# Joins, groups, queues


@mutant
def counts_a_join_twice() -> AbstractContextManager[None]:
    arrive = Slice.arrive

    def twice(self: Any, key: Any) -> None:
        arrive(self, key)
        row = self.steps.get(key)
        if row is not None and not row.is_new and row.waiting > 0:
            arrive(self, key)

    return exchanged(Slice, "arrive", twice)


@mutant
def forgets_who_waits_inside_of_a_fan_out() -> AbstractContextManager[None]:
    return without("_sweep")


@mutant
def counts_what_ends_untold_as_arrived() -> AbstractContextManager[None]:
    def hasty(rows: Any, inside: Any, around: Any) -> Any:
        finished, rows.finished = rows.finished, []
        try:
            return (yield from missing(rows, inside, around))
        finally:
            rows.finished = finished

    missing = fan._missing_edges
    return exchanged(fan, "_missing_edges", hasty)


@mutant
def does_not_count_skipped_items() -> AbstractContextManager[None]:
    count = decision.Decision._count

    def forgetful(self: Any, row: Any) -> bool:
        return row.state is not StepState.SKIPPED and count(self, row)

    return exchanged(decision.Decision, "_count", forgetful)


@mutant
def collects_in_the_wrong_order() -> AbstractContextManager[None]:
    gather = fan.gather

    def backwards(*given: Any) -> Any:
        values = yield from gather(*given)
        return values[::-1] if isinstance(values, list) else values

    return exchanged(fan, "gather", backwards)


@mutant
def keeps_flights_for_ever() -> AbstractContextManager[None]:
    return without("_end_flight")


@mutant
def gives_out_more_than_there_is_room_for() -> AbstractContextManager[None]:
    return exchanged(dispatcher.Dispatcher, "_surplus", lambda *_: 80)


@mutant
def lets_everybody_through_a_limit() -> AbstractContextManager[None]:
    return exchanged(limits.Gate, "lets", lambda self, pair: True)


@mutant
def forgets_what_a_rate_let_through() -> AbstractContextManager[None]:
    return exchanged(limits.Gate, "save", lambda self: None)


@mutant
def begins_with_fewer_slots_than_an_order_needs() -> AbstractContextManager[None]:
    hold = slots.Seat.hold

    async def hasty(self: Any, count: int) -> None:
        await hold(self, min(count, 1))

    return exchanged(slots.Seat, "hold", hasty)


@mutant
def forgets_inputs_in_the_key() -> AbstractContextManager[None]:
    return exchanged(decision, "input_digests", lambda inputs: {})


# Time, retries, stops


@mutant
def retries_once_too_often() -> AbstractContextManager[None]:
    def lenient(policy: RetrySpec, failure: Failure, failures: int, seed: str, now: int, *, is_granted: bool = False) -> Retry | GiveUp:
        return after_failure(policy, failure, max(1, failures - 1), seed, now, is_granted=is_granted)

    return exchanged(attempts, "after_failure", lenient)


@mutant
def fires_a_timer_twice() -> AbstractContextManager[None]:
    return exchanged(batch, "_is_stale", lambda *_: False)


@mutant
def loses_timers() -> AbstractContextManager[None]:
    return without("_put_timer")


@mutant
def fires_timers_too_early() -> AbstractContextManager[None]:
    @contextmanager
    def both() -> Generator[None]:
        due, is_due = timers._due, timers._is_due
        later = 10_000_000
        early, is_early = _Shifted(due, later), _Shifted(is_due, later)
        with exchanged(timers, "_due", early), exchanged(timers, "_is_due", is_early):
            yield

    return both()


class _Shifted:
    """A query that believes it is later."""

    def __init__(self, query: Statement, microseconds: int) -> None:
        self._query = query
        self._microseconds = microseconds

    def rows(self, connection: Any, *, now: int, **values: Any) -> Any:
        return self._query.rows(connection, now=now + self._microseconds, **values)

    def first(self, connection: Any, *, now: int, **values: Any) -> Any:
        return self._query.first(connection, now=now + self._microseconds, **values)


@mutant
def stops_only_what_it_happens_to_see() -> AbstractContextManager[None]:
    return without("_cancel_unbegun")


@mutant
def goes_on_giving_out_for_stopped_runs() -> AbstractContextManager[None]:
    return without("_clear_ready")


@mutant
def waits_for_nobody_that_was_lost() -> AbstractContextManager[None]:
    return exchanged(decision.Decision, "_waits_again", lambda *_: False)


@mutant
def leaves_attempts_of_ended_runs_open() -> AbstractContextManager[None]:
    return exchanged(attempts, "take_late", lambda *_: None)
