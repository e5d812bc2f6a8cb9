"""What is told of runs and steps: nothing unless somebody registered, all of it in the transaction that decides, under ids that tell."""

import json
from typing import Any, TypeGuard

import pytest

from penstock.contracts.artifacts import inline
from penstock.contracts.bindings import FromItem
from penstock.contracts.events import RunEvent, StepEvent, decode_event
from penstock.contracts.messages import Cause, SubmitRun
from penstock.contracts.spec import PipelineSpec, encode_spec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.contracts.subscriptions import SubscriptionRequest
from penstock.contracts.triggers import OnEventSource, OnRunSource, TriggerSpec, plain_trigger
from penstock.engine.core.wants import Begin, Stop
from penstock.engine.outgoing.subscriptions import set_subscription_state, subscribe
from penstock.engine.quarantine import quarantine
from penstock.engine.runs import submit
from penstock.engine.statement import Statement
from tests.engine.ledger import Ledger
from tests.engine.small_pipelines import collect, each, fanned, inner, pipeline, step

CHAIN = pipeline(step("first"), step("second"))
_owed = Statement('SELECT subscription, "type", topic, body, message_id FROM owed_event ORDER BY owed_no')
_kept = Statement("SELECT body, via, hops, correlation_id, causation_id, state FROM event ORDER BY event_no")
_options = Statement("SELECT options FROM run WHERE run_no = :run_no")
_put_trigger = Statement(
    "INSERT INTO trigger_version (workspace, name, version, pipeline, definition, state, made_at, made_by) "
    "VALUES ('default', :name, 1, 'after', :definition, :state, 0, '')"
)


def register(ledger: Ledger, *types: str, name: str = "all", pipeline: str | None = None, url: str | None = None) -> None:
    request = SubscriptionRequest(name=name, kind="bus" if url is None else "webhook", types=types, pipeline=pipeline, url=url)
    subscribe(ledger.connection, "default", request, "tester", ledger.now)


def watch(ledger: Ledger, on: OnRunSource | OnEventSource, state: str = "on") -> None:
    definition = json.dumps(plain_trigger(TriggerSpec(name="follow", pipeline="after", on=on)))
    _put_trigger(ledger.connection, name="follow", definition=definition, state=state)


def owed(ledger: Ledger) -> list[tuple[str, str, str]]:
    """(to whom, type, topic) of all that is owed."""
    return [(row[0], row[1], row[2]) for row in _owed.rows(ledger.connection)]


def events(ledger: Ledger) -> list[RunEvent | StepEvent]:
    return [decode_event(row[3].encode()) for row in _owed.rows(ledger.connection)]


def kept(ledger: Ledger) -> list[dict[str, Any]]:
    """Events that came in."""
    return [json.loads(row[0]) | {"via": row[1], "state": row[5]} for row in _kept.rows(ledger.connection)]


def run_through(ledger: Ledger, spec: PipelineSpec = CHAIN, **fields: Any) -> int:
    run = ledger.submit(spec)
    ledger.dispatch()
    for name in ("first", "second"):
        ledger.succeed(run, name, **fields)
        ledger.dispatch()
    return run


def test_nothing_is_owed_where_nobody_registered(ledger: Ledger) -> None:
    run_through(ledger)

    assert owed(ledger) == []
    assert kept(ledger) == []


def test_where_nobody_registered_a_run_asks_twice_however_many_steps_it_has(ledger: Ledger) -> None:
    names = [f"step{number}" for number in range(20)]
    sent: list[str] = []
    driver: Any = ledger.connection.connection.driver_connection
    driver.set_trace_callback(sent.append)

    run = ledger.submit(pipeline(*(step(name) for name in names)))
    for name in names:
        ledger.dispatch()
        ledger.succeed(run, name)

    assert ledger.run(run) == "succeeded"
    assert sum("FROM subscription" in sql for sql in sent) == 2
    assert not any("owed_event" in sql or "INTO event" in sql for sql in sent)


def test_a_run_is_told_of_from_its_beginning_to_its_end(ledger: Ledger) -> None:
    register(ledger, "penstock.run.*")

    run_through(ledger)

    assert owed(ledger) == [("", "penstock.run.started", "run.started.small"), ("", "penstock.run.succeeded", "run.succeeded.small")]
    end = events(ledger)[1]
    assert isinstance(end, RunEvent)
    assert end.data.run_id == "run-1"
    assert end.source == "/penstock/default"
    assert (end.correlationid, end.causationid, end.penstockhops) == ("run-1", "run-1", 1)


def test_the_bus_is_told_once_and_each_webhook_for_itself(ledger: Ledger) -> None:
    register(ledger, "penstock.run.succeeded", name="one")
    register(ledger, "penstock.*", name="two")
    register(ledger, "penstock.run.succeeded", name="hook", url="https://example.org/hook")
    register(ledger, "penstock.run.succeeded", name="other", url="https://example.org/hook", pipeline="elsewhere")

    run_through(ledger)

    assert owed(ledger)[0] == ("", "penstock.run.started", "run.started.small")
    ends = [row for row in _owed.rows(ledger.connection) if row[1] == "penstock.run.succeeded"]
    assert [row[0] for row in ends] == ["", "hook"]
    assert len({row[4] for row in ends}) == 2, "each receiver's message has an id of its own"


def test_a_failure_says_why_and_a_cancelled_run_that_it_was(ledger: Ledger) -> None:
    register(ledger, "penstock.run.failed", "penstock.run.cancelled")

    failed, cancelled = ledger.submit(pipeline(step("first"))), ledger.submit(pipeline(step("other")))
    ledger.dispatch()
    ledger.fail(failed, "first")
    ledger.stop(cancelled)
    ledger.end(ledger.order(cancelled, "other"), AttemptState.CANCELLED)

    assert [type_ for _, type_, _ in owed(ledger)] == ["penstock.run.failed", "penstock.run.cancelled"]
    first = events(ledger)[0]
    assert isinstance(first, RunEvent)
    assert "boom" in (first.data.error or "")


def test_steps_are_told_of_where_somebody_wants_that_when_the_run_begins(ledger: Ledger) -> None:
    early = ledger.submit(CHAIN)
    register(ledger, "penstock.step.*", pipeline="small")
    late = ledger.submit(pipeline(step("late")))
    ledger.dispatch()

    ledger.succeed(early, "first")
    ledger.succeed(late, "late")

    assert [event.subject for event in events(ledger)] == ["small-2/late"]
    assert owed(ledger)[0][2] == "step.succeeded.small.late"
    row = _options.first(ledger.connection, run_no=late)
    assert row is not None
    assert json.loads(row[0])["tells_steps"] is True


def test_steps_of_a_fan_out_are_told_of_by_their_index_and_fan_outs_are_no_steps(ledger: Ledger) -> None:
    register(ledger, "penstock.step.*")

    run = ledger.submit(fanned(each(), inner("fit"), collect("fit"), result="all-fit"), xs=[1, 2])
    ledger.dispatch()
    ledger.succeed(run, "fit", 0)
    ledger.fail(run, "fit", 1)

    told = events(ledger)
    assert [(event.type, event.subject) for event in told] == [
        ("penstock.step.succeeded", "small-1/fit/0"),
        ("penstock.step.failed", "small-1/fit/1"),
    ]
    failed = told[1]
    assert isinstance(failed, StepEvent)
    assert failed.data.failure is not None
    assert failed.data.failure.kind is FailureKind.ERROR


def test_an_index_in_nested_fan_outs_is_a_path_of_what_is_told_and_emitted(ledger: Ledger) -> None:
    register(ledger, "penstock.step.*", "cell.*")
    spec = fanned(
        each("outer"),
        each("inner", over=FromItem(item="outer"), scope=("outer",)),
        step("cell", inputs={"x": FromItem(item="inner")}, scope=("outer", "inner")),
    )

    run = ledger.submit(spec, xs=[[1, 2], [3]])
    for order in list(ledger.orders):
        ledger.tell(run, ledger.success(order, inline(1), emitted=({"type": "cell.done", "data": {}},)))

    rows = _owed.rows(ledger.connection)
    told = {event.data.index for event in (decode_event(row[3].encode()) for row in rows if row[1] != "cell.done") if is_step(event)}
    assert told == {(0, 0), (0, 1), (1, 0)}
    assert {event["id"] for event in kept(ledger)} == {f"run-1/cell/{path}/emitted/0" for path in ("0/0", "0/1", "1/0")}


def is_step(event: RunEvent | StepEvent) -> TypeGuard[StepEvent]:
    return isinstance(event, StepEvent)


def test_a_hit_says_that_nothing_was_executed(ledger: Ledger) -> None:
    register(ledger, "penstock.step.*")
    run_through(ledger)

    ledger.submit(CHAIN)

    hits = [event.data.hit for event in events(ledger) if isinstance(event, StepEvent)]
    assert hits == [False, False, True, True]


def test_ids_follow_from_what_happened(ledger: Ledger) -> None:
    register(ledger, "penstock.*")
    run_through(ledger)

    assert [event.id for event in events(ledger)] == [
        "run-1/run.started",
        "run-1/first/step.succeeded",
        "run-1/second/step.succeeded",
        "run-1/run.succeeded",
    ]


def test_a_paused_subscription_is_owed_what_happens_and_one_that_is_off_is_not(ledger: Ledger) -> None:
    register(ledger, "penstock.run.started")
    set_subscription_state(ledger.connection, "default", "all", is_on=False)
    ledger.submit(CHAIN)
    Statement("UPDATE subscription SET state = 'off'")(ledger.connection)
    ledger.submit(CHAIN)

    assert len(owed(ledger)) == 1


def test_another_workspace_hears_of_nothing(ledger: Ledger) -> None:
    request = SubscriptionRequest(name="all", kind="bus", types=("*",))
    subscribe(ledger.connection, "elsewhere", request, "tester", ledger.now)

    run_through(ledger, emitted=({"type": "model.trained", "data": {}},))

    assert owed(ledger) == []
    assert len(kept(ledger)) == 2, "it came in, for triggers of its own workspace"


def test_what_is_too_large_is_told_without_its_outputs(ledger: Ledger) -> None:
    register(ledger, "penstock.run.succeeded")

    run_through(ledger, tags={f"tag{number}": "x" * 60_000 for number in range(5)})

    end = events(ledger)[0]
    assert isinstance(end, RunEvent)
    assert end.data.is_cut
    assert end.data.tags == {}


def test_a_run_that_was_put_aside_is_told_of_as_failed(ledger: Ledger) -> None:
    register(ledger, "penstock.run.failed")
    run = ledger.submit(CHAIN)

    quarantine(ledger.connection, run, "it can't be decided", ledger.now)
    quarantine(ledger.connection, run, "again", ledger.now)

    assert [type_ for _, type_, _ in owed(ledger)] == ["penstock.run.failed"]


# What comes in again


EMITTED: tuple[dict[str, Any], ...] = ({"type": "model.trained", "data": {"rows": 3}}, {"type": "model.scored", "data": {}})


def test_what_a_step_emits_comes_in_as_events_and_goes_out(ledger: Ledger) -> None:
    register(ledger, "model.trained")
    run = ledger.submit(CHAIN)
    ledger.dispatch()

    ledger.succeed(run, "first", emitted=EMITTED)

    first, second = kept(ledger)
    assert (first["type"], second["type"]) == ("model.trained", "model.scored")
    assert first["id"] == "run-1/first/emitted/0"
    assert first["source"] == "/penstock/default/runs/run-1"
    assert (first["via"], first["state"], first["data"]) == ("run", "new", {"rows": 3})
    assert (first["causationid"], first["correlationid"], first["penstockhops"]) == ("run-1", "run-1", 1)
    assert owed(ledger) == [("", "model.trained", "event.small.model.trained")]


def test_only_the_winner_emits_and_only_once(ledger: Ledger) -> None:
    run = ledger.submit(CHAIN)
    ledger.dispatch()

    ledger.succeed(run, "first", emitted=EMITTED)
    ledger.succeed(run, "first", emitted=EMITTED)
    ledger.submit(CHAIN)

    assert len(kept(ledger)) == 2


@pytest.mark.parametrize("bad", [{"type": ""}, {"type": 7}, {}, {"type": "x" * 300}, {"type": "penstock.run.failed"}])
def test_an_event_that_is_none_is_refused_and_noted_and_the_step_succeeds(ledger: Ledger, bad: dict[str, Any]) -> None:
    run = ledger.submit(CHAIN)
    ledger.dispatch()

    ledger.succeed(run, "first", emitted=(bad, EMITTED[0]))

    assert [event["type"] for event in kept(ledger)] == ["model.trained"]
    assert ledger.state(run, "first") == "succeeded"
    noted = Statement("SELECT data FROM timeline WHERE \"type\" = 'event.refused'").rows(ledger.connection)
    assert len(noted) == 1
    assert "first emitted is refused" in noted[0][0]


@pytest.mark.parametrize(
    ("on", "count"),
    [
        (OnRunSource(pipeline="small"), 1),
        (OnRunSource(pipeline="small", states=("failed",)), 0),
        (OnRunSource(pipeline="other"), 0),
        (OnEventSource(type="penstock.run.*"), 1),
        (OnEventSource(type="sales.*"), 0),
    ],
)
def test_the_end_of_a_run_is_kept_where_a_trigger_may_start_from_it(ledger: Ledger, on: OnRunSource | OnEventSource, count: int) -> None:
    watch(ledger, on)

    run_through(ledger)

    assert [event["type"] for event in kept(ledger)] == ["penstock.run.succeeded"] * count
    assert owed(ledger) == [], "triggers are not told on the bus"


@pytest.mark.parametrize("state", ["inert", "superseded"])
def test_triggers_that_are_not_live_keep_nothing(ledger: Ledger, state: str) -> None:
    watch(ledger, OnRunSource(pipeline="small"), state)

    run_through(ledger)

    assert kept(ledger) == []


def test_hops_and_the_first_cause_are_handed_on(ledger: Ledger) -> None:
    watch(ledger, OnRunSource(pipeline="small", states=("cancelled",)))
    cause = Cause(kind="event", trigger="t", events=(7,), correlation_id="order-17", hops=3)
    number, _ = submit(ledger.connection, SubmitRun(run_id="caused", spec=encode_spec(CHAIN), cause=cause), ledger.now)
    ledger.tell(number, Begin(), Stop("cancelled"))

    (event,) = kept(ledger)
    assert (event["correlationid"], event["causationid"], event["penstockhops"]) == ("order-17", "caused", 4)
    assert event["data"]["cause"]["events"] == [7]
