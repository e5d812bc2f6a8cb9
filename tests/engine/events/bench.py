"""A bench for events and triggers: a published pipeline, declared triggers, events as they come in, on a store in memory or on a server."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection

from penstock.contracts.cloud_events import CloudEvent, ReceivedEvent, encode_cloud_event
from penstock.contracts.publishing import PublishRequest
from penstock.contracts.spec import ParameterSpec, encode_spec
from penstock.contracts.triggers import TriggerSpec
from penstock.engine.core.resolve import plain_value
from penstock.engine.core.rows import unpack_values
from penstock.engine.events.deciding import take_in
from penstock.engine.events.intake import Stored, store_events
from penstock.engine.events.records import Decided
from penstock.engine.events.service import EventService, EventSettings
from penstock.engine.events.triggers import Trigger, declare
from penstock.engine.published.publishing import publish
from penstock.engine.statement import Statement
from penstock.engine.store import Store
from penstock.transport.bus import Envelope, Exchange
from penstock.transport.buses.memory import MemoryBus
from tests.engine.cluster import pipeline, step

T = TypeVar("T")
SECOND = 1_000_000
EPOCH = 1_800_000_000 * SECOND
PATIENCE_SECONDS = 60.0
_runs = Statement("SELECT run_id, params, cause, pipeline, tags, state FROM run ORDER BY run_no")
_decisions = Statement(
    "SELECT d.event_no, t.name, d.outcome, d.reason FROM decision d JOIN trigger_version t ON t.trigger_no = d.trigger_no "
    "ORDER BY d.event_no, t.name, d.replay"
)
_states = Statement("SELECT id, state FROM event ORDER BY event_no")
_end = Statement("UPDATE run SET state = 'succeeded', ended_at = :now WHERE run_id = :run_id")


def event(identity: object, kind: str = "day.ready", source: str = "/upstream", **fields: Any) -> CloudEvent:
    return CloudEvent(id=str(identity), source=source, type=kind, **fields)


def trigger(name: str = "retrain", **fields: Any) -> TriggerSpec:
    plain = {"name": name, "pipeline": "flow", "on": {"kind": "event", "type": "day.ready"}, **fields}
    return TriggerSpec.model_validate(plain)


@dataclass
class Bench:
    store: Store
    now: int = EPOCH
    workspace: str = "default"
    decided: list[Decided] = field(default_factory=list[Decided])

    async def do(self, function: Callable[[Connection], T]) -> T:
        return await self.store.transaction(function)

    async def publish(
        self,
        *parameters: ParameterSpec,
        name: str = "flow",
        version: str | None = None,
        triggers: Sequence[TriggerSpec] = (),
        **fields: Any,
    ) -> None:
        spec = pipeline(step("train"), name=name, parameters=parameters)
        request = PublishRequest(spec=json.loads(encode_spec(spec)), version=version, triggers=tuple(triggers), **fields)
        await self.do(lambda connection: publish(connection, self.workspace, request, "tester", self.now))

    async def declare(self, spec: TriggerSpec) -> Trigger:
        return await self.do(lambda connection: declare(connection, self.workspace, spec, "tester", self.now))

    def received(self, one: CloudEvent) -> ReceivedEvent:
        return ReceivedEvent(workspace=self.workspace, via="http", event=one, received_at=self.now)

    async def keep(self, *events: CloudEvent) -> list[Stored]:
        return await self.do(lambda connection: store_events(connection, [self.received(one) for one in events]))

    async def send(self, *events: CloudEvent) -> Decided:
        """Keeps and decides these in one transaction."""

        self.now += 1
        received = [self.received(one) for one in events]
        decided = await self.do(lambda connection: take_in(connection, received, self.now))
        self.decided.append(decided)
        return decided

    async def runs(self) -> list[dict[str, Any]]:
        """The parameters of every run, in the order in which they were made."""
        return await self.runs_of(None)

    async def runs_of(self, name: str | None) -> list[dict[str, Any]]:
        """As `runs`, of one pipeline."""
        rows = [row for row in await self.store.read(lambda connection: _runs.rows(connection)) if name in (None, row[3])]
        return [{name: plain_value(value) for name, value in unpack_values(bytes(row[1])).items()} for row in rows]

    async def run_rows(self) -> list[tuple[Any, ...]]:
        return await self.store.read(lambda connection: _runs.rows(connection))

    async def decisions(self, name: str = "retrain") -> list[tuple[str, str]]:
        """(outcome, reason) of a trigger's decisions, by event."""
        rows = await self.store.read(lambda connection: _decisions.rows(connection))
        return [(row[2], row[3]) for row in rows if row[1] == name]

    async def outcomes(self, name: str = "retrain") -> list[str]:
        return [outcome for outcome, _ in await self.decisions(name)]

    async def states(self) -> dict[str, str]:
        """State by id of every event."""
        return {row[0]: row[1] for row in await self.store.read(lambda connection: _states.rows(connection))}

    async def end_run(self, run_id: str) -> None:
        await self.do(lambda connection: _end(connection, now=self.now, run_id=run_id))


def parameter(name: str, kind: str = "int") -> ParameterSpec:
    schema = {"int": {"type": "integer"}, "str": None}[kind]
    return ParameterSpec(name=name, type=kind, read="text" if kind == "str" else "json", schema=schema)


def received_body(one: CloudEvent) -> bytes:
    return encode_cloud_event(one)


async def emit(bus: MemoryBus, *events: CloudEvent) -> None:
    """Events on the bus, as CloudEvents in JSON."""
    for one in events:
        await bus.publish(
            Envelope(exchange=Exchange.INGEST, key="event", body=encode_cloud_event(one), content_type="application/cloudevents+json")
        )


async def until(holds: Callable[[], Any]) -> None:
    """Waits until the awaitable condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(bench: Bench, bus: MemoryBus, begun: list[int], **settings: Any) -> AsyncGenerator[EventService]:
    """An event service at work. It is an error if it ends by itself."""
    given: dict[str, Any] = {"pause_seconds": 0.01, "tick_seconds": 0.05, **settings}
    service = EventService(bus, bench.store, EventSettings(**given), lambda: bench.now, begun.append)
    task = asyncio.create_task(service.run())
    try:
        yield service
        assert not task.done(), "the event service has ended by itself"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
