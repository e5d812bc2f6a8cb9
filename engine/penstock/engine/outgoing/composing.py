"""What is told of runs and steps, and to whom: events made and written down as owed, in the transaction that decides what they tell of."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import structlog
from pydantic import ValidationError
from sqlalchemy import Connection

from penstock.contracts.cloud_events import EVENT_LIMIT, CloudEvent, ReceivedEvent, encode_cloud_event
from penstock.contracts.encoding import digest_of
from penstock.contracts.errors import ContractError
from penstock.contracts.event_types import OWN
from penstock.contracts.events import (
    RunData,
    RunEvent,
    RunEventType,
    StepData,
    StepEvent,
    StepEventType,
    encode_event,
    routing_key,
    run_event,
    step_event,
    timestamp,
)
from penstock.contracts.messages import Cause, Failure, clean_text
from penstock.contracts.spec import StepSpec
from penstock.engine.core.decision import Decision
from penstock.engine.core.rows import Key, Moment, RunRow, StepRow, unpack_values
from penstock.engine.core.wants import Finding, Items
from penstock.engine.events.intake import event_of, store_events
from penstock.engine.outgoing.listeners import Listeners, listeners
from penstock.engine.outgoing.moments import RUN_MOMENTS, STEP_MOMENTS, TELLS_STEPS
from penstock.engine.slice_reader import load
from penstock.engine.statement import Statement

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.outgoing")

E = TypeVar("E", RunEvent, StepEvent)

GIVE_UP_MICROSECONDS = 24 * 3600 * 1_000_000
"""So long a webhook is tried."""
NEVER = 2**62
_TEXT_OF_A_CUT_FAILURE = 2000
_ID_LIMIT = 255
_TOPIC_LIMIT = 255

_set_options = Statement("UPDATE run SET options = :options WHERE run_no = :run_no")
_owe = Statement(
    'INSERT INTO owed_event (workspace, subscription, message_id, event_id, "type", topic, body, state, tries, made_at, due_at, '
    "give_up_at) VALUES (:workspace, :subscription, :message_id, :event_id, :type, :topic, :body, 'owed', 0, :now, :now, :give_up_at)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """An event as it goes out; `topic` is its routing key."""

    event_id: str
    type: str
    source: str
    topic: str
    body: str


@dataclass(frozen=True, slots=True)
class _Run:
    """What every event of a run says."""

    row: RunRow
    cause: Cause
    now: int

    @property
    def source(self) -> str:
        return f"/penstock/{self.row.workspace}"

    @property
    def correlation_id(self) -> str:
        return self.cause.correlation_id or self.row.run_id


def tell(connection: Connection, decision: Decision, known: Listeners) -> bool:
    """Owes what the decision makes known, and keeps as events what triggers may start from; whether there was anything."""
    run = _Run(decision.run, Cause.model_validate(decision.run.cause), decision.now)
    if any(moment.type == "run.started" for moment in decision.changes.moments) and known.for_steps(run.row.pipeline):
        run.row.options[TELLS_STEPS] = True
        _set_options(connection, run_no=run.row.run_no, options=json.dumps(run.row.options))
    _load_paths(connection, decision, ((f.node, f.item) for f in decision.changes.findings if f.report.emitted))
    emitted = list(_emitted(decision, run))
    happened = list(_happened(connection, decision, run))
    kept = [event_of(event.body) for event in happened if _ends(event) and known.start_from(event.type, event.source, run.row.pipeline)]
    kept += emitted
    if kept:
        store_events(connection, [_received(run, event) for event in kept])
    owed = [_of_user(run, event) for event in emitted] + happened
    return owe(connection, run.row.workspace, run.row.pipeline, owed, known, run.now) or bool(kept)


def owe(connection: Connection, workspace: str, pipeline: str, events: Sequence[Outgoing], known: Listeners, now: int) -> bool:
    """Writes down who is to be told of what; whether anybody is. On the bus an event goes out once, however many want it."""
    rows: list[dict[str, object]] = []
    for event in events:
        wanting = [subscriber for subscriber in known.subscribers if subscriber.wants(event.type, pipeline)]
        names = {"" if subscriber.kind == "bus" else subscriber.name for subscriber in wanting}
        rows += [owed_row(workspace, name, event, now) for name in sorted(names)]
    _owe.many(connection, rows)
    return bool(rows)


def owed_row(workspace: str, subscription: str, event: Outgoing, now: int) -> dict[str, object]:
    """The values of `put_owed`. The message's id follows from the event and from whom it is for."""
    identity = digest_of([workspace, subscription, event.source, event.event_id]).partition(":")[2]
    return {
        "workspace": workspace,
        "subscription": subscription,
        "message_id": f"msg_{identity[:40]}",
        "event_id": event.event_id,
        "type": event.type,
        "topic": event.topic,
        "body": event.body,
        "now": now,
        "give_up_at": now + GIVE_UP_MICROSECONDS if subscription else NEVER,
    }


def put_owed(connection: Connection, row: dict[str, object]) -> None:
    """Owes one event to one receiver."""
    _owe.many(connection, [row])


def tell_of_failure(connection: Connection, run: RunRow, now: int) -> None:
    """Owes that a run has failed which nobody could decide."""
    known = listeners(connection, run.workspace)
    told = _Run(run, Cause.model_validate(run.cause), now)
    event = _outgoing(_run_event(told, "run.failed"))
    if known.start_from(event.type, event.source, run.pipeline):
        store_events(connection, [_received(told, event_of(event.body))])
    owe(connection, run.workspace, run.pipeline, [event], known, now)


def _ends(event: Outgoing) -> bool:
    return event.type.startswith("penstock.run.") and event.type != "penstock.run.started"


def _received(run: _Run, event: CloudEvent) -> ReceivedEvent:
    return ReceivedEvent(workspace=run.row.workspace, via="run", event=event, sender=run.row.name, received_at=run.now)


# What happened to runs and steps


def _happened(connection: Connection, decision: Decision, run: _Run) -> Iterator[Outgoing]:
    tells_steps = TELLS_STEPS in run.row.options
    moments = [m for m in decision.changes.moments if m.type in RUN_MOMENTS or (tells_steps and _is_of_step(decision, m))]
    _load_paths(connection, decision, ((m.node, m.item) for m in moments if m.node is not None and m.item is not None))
    for moment in moments:
        event = _run_event(run, moment.type) if moment.type in RUN_MOMENTS else _step_event(decision, run, moment)
        yield _outgoing(event)


def _is_of_step(decision: Decision, moment: Moment) -> bool:
    """Fan-outs and what collects them are no steps."""
    return moment.type in STEP_MOMENTS and moment.node is not None and isinstance(decision.plan.nodes[moment.node].spec, StepSpec)


def _load_paths(connection: Connection, decision: Decision, places: Iterable[Key]) -> None:
    """The index of an item in nested fan-outs is in its row."""
    chains = [(decision.plan.nodes[node].chain, item) for node, item in places]
    keys = [(chain[-1], item) for chain, item in chains if len(chain) > 1 and (chain[-1], item) not in decision.items]
    if keys:
        load(connection, decision, Items(list(dict.fromkeys(keys))))


def _index(decision: Decision, row: StepRow) -> tuple[int, ...]:
    chain = decision.plan.nodes[row.node].chain
    item = decision.items.get((chain[-1], row.item)) if chain else None
    return item.path if item is not None else (row.item,) if chain else ()


def _run_event(run: _Run, moment: str) -> RunEvent:
    row = run.row
    data = RunData(
        run_id=row.run_id,
        run_name=row.name,
        pipeline=row.pipeline,
        spec_digest=row.spec_digest,
        cause=run.cause,
        tags=row.tags,
        outputs=unpack_values(row.outputs) if moment == "run.succeeded" else {},
        error=row.error,
    )
    kind = cast("RunEventType", OWN + moment)
    whole = _marked(run, run_event(kind, data, workspace=row.workspace, at=run.now))
    if len(encode_event(whole)) <= EVENT_LIMIT:
        return whole
    cut = data.model_copy(update={"tags": {}, "outputs": {}, "is_cut": True})
    return whole.model_copy(update={"data": cut})


def _step_event(decision: Decision, run: _Run, moment: Moment) -> StepEvent:
    row = decision.steps[moment.node or 0, moment.item or 0]
    data = StepData(
        run_id=run.row.run_id,
        run_name=run.row.name,
        pipeline=run.row.pipeline,
        step=decision.plan.nodes[row.node].name,
        index=_index(decision, row),
        hit=row.hit_run is not None,
        key=row.key,
        outputs=row.values() if moment.type == "step.succeeded" else {},
        failure=Failure.model_validate_json(row.failure) if row.failure is not None and moment.type == "step.failed" else None,
    )
    kind = cast("StepEventType", OWN + moment.type)
    whole = _marked(run, step_event(kind, data, workspace=run.row.workspace, at=run.now))
    if len(encode_event(whole)) <= EVENT_LIMIT:
        return whole
    failure = data.failure and data.failure.model_copy(
        update={"message": clean_text(data.failure.message, _TEXT_OF_A_CUT_FAILURE), "traceback": ""}
    )
    return whole.model_copy(update={"data": data.model_copy(update={"outputs": {}, "failure": failure, "is_cut": True})})


def _marked(run: _Run, event: E) -> E:
    """With what it followed from."""
    marks = {"correlationid": run.correlation_id, "causationid": run.row.run_id, "penstockhops": run.cause.hops + 1}
    return event.model_copy(update=marks)


def _outgoing(event: RunEvent | StepEvent) -> Outgoing:
    body = encode_event(event).decode()
    return Outgoing(event_id=event.id, type=event.type, source=event.source, topic=_topic(routing_key(event)), body=body)


# What steps emit


def _emitted(decision: Decision, run: _Run) -> Iterator[CloudEvent]:
    """Events that user code emitted. One that is none is noted in the run's timeline."""
    for finding in decision.changes.findings:
        if not finding.report.emitted:
            continue
        row = decision.steps[finding.node, finding.item]
        address = decision.label(row)
        for position, plain in enumerate(finding.report.emitted):
            try:
                yield _event_of_user(run, finding, address, position, plain)
            except (ValidationError, ContractError, ValueError) as error:
                reason = f"event {position + 1} that {address} emitted is refused: {_first_line(error)}"
                decision.note("event.refused", row, reason=reason)
                log.warning("event.refused", run_id=run.row.run_id, reason=reason)


def _event_of_user(run: _Run, finding: Finding, address: str, position: int, plain: dict[str, object]) -> CloudEvent:
    kind = plain.get("type")
    if not isinstance(kind, str) or kind.startswith(OWN):
        raise ContractError(f"its type is {kind!r}: it must be text, and {OWN}* is Penstock's own")
    identity = f"{run.row.run_id}/{address}/emitted/{position}"
    if len(identity) > _ID_LIMIT:
        identity = f"{run.row.run_id}/{finding.node}/{finding.item}/emitted/{position}"
    return CloudEvent(
        id=identity,
        source=f"{run.source}/runs/{run.row.run_id}",
        type=kind,
        time=timestamp(run.now),
        subject=f"{run.row.name}/{address}"[:1024],
        datacontenttype="application/json",
        data=plain.get("data"),
        extensions={"correlationid": run.correlation_id, "causationid": run.row.run_id, "penstockhops": run.cause.hops + 1},
    )


def _of_user(run: _Run, event: CloudEvent) -> Outgoing:
    topic = _topic(f"event.{run.row.pipeline}.{event.type}")
    return Outgoing(event_id=event.id, type=event.type, source=event.source, topic=topic, body=encode_cloud_event(event).decode())


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    return str(error)


def _topic(topic: str) -> str:
    """As long as AMQP takes one."""
    return topic.encode()[:_TOPIC_LIMIT].decode(errors="ignore")
