"""A coordinator on a store and a bus in memory, and a hand that plays the runner: it takes orders and reports what a test wants."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from penstock.contracts.artifacts import Value, inline
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.messages import COMMAND_LIMIT, Completed, Message, Order, Report, Reports, SubmitRun, decode, encode
from penstock.contracts.spec import FunctionTarget, Identity, Node, OutputSpec, ParameterSpec, PipelineSpec, StepSpec, encode_spec
from penstock.contracts.states import AttemptState, RunState
from penstock.engine.coordinator import Coordinator, CoordinatorSettings
from penstock.engine.core.resolve import plain_value
from penstock.engine.core.rows import unpack_values
from penstock.engine.statement import Statement
from penstock.engine.store import Store
from penstock.engine.stores.sqlite import MemoryStore
from penstock.transport.artifact_stores.memory import MemoryArtifactStore
from penstock.transport.bus import Delivery, Envelope, Exchange, work_queue
from penstock.transport.buses.memory import MemoryBus

PATIENCE_SECONDS = 60.0
SETTINGS = CoordinatorSettings(name="coordinator", token_key=b"key", again_seconds=0.01)
_EPOCH = 1_800_000_000_000_000
_state = Statement("SELECT state, error FROM run WHERE run_no = :run_no")
_outputs = Statement("SELECT outputs FROM run WHERE run_no = :run_no")
_steps = Statement("SELECT node, item, state FROM step_run WHERE run_no = :run_no ORDER BY node, item")


make_store: Callable[[], Store] = MemoryStore
"""Where a cluster keeps its state; the fixture `each_store` has all of a module's tests run on each store."""


def step(name: str, **fields: Any) -> StepSpec:
    """A step whose code is its name."""
    plain: dict[str, Any] = {
        "name": name,
        "run": FunctionTarget(module="steps", function=name),
        "outputs": (OutputSpec(),),
        "code": Identity(digest=digest_bytes(name.encode())),
        "environment": Identity(digest=digest_bytes(b"environment")),
    }
    return StepSpec(**(plain | fields))


def pipeline(*nodes: Node, **fields: Any) -> PipelineSpec:
    given: dict[str, Any] = {"name": "flow", "nodes": nodes}
    return PipelineSpec(**(given | fields))


def parameter(name: str, value: object) -> ParameterSpec:
    return ParameterSpec(name=name, required=False, default=inline(value))


class Cluster:
    """What a test sees of it. `work` takes orders by itself where `answer` is set: the result of each, by order."""

    def __init__(
        self,
        store: Store,
        bus: MemoryBus | None = None,
        artifacts: MemoryArtifactStore | None = None,
        settings: CoordinatorSettings = SETTINGS,
    ) -> None:
        self.bus = bus or MemoryBus()
        self.store = store
        self.artifacts = artifacts or MemoryArtifactStore()
        self.answer: Callable[[Order], object] | None = None
        self.orders: asyncio.Queue[Order] = asyncio.Queue()
        self.executed: list[str] = []
        self.coordinator = Coordinator(self.bus, self.store, self.artifacts, settings, self._now)
        self.coordinator.set_slots("hand", {"cpu": 100})
        self._ticks = 0
        self._runs = 0

    def _now(self) -> int:
        self._ticks += 1
        return _EPOCH + self._ticks

    async def submit(self, spec: PipelineSpec | bytes, run_id: str | None = None, **fields: Any) -> int:
        """A run of its own id; its number."""
        self._runs += 1
        data = spec if isinstance(spec, bytes) else encode_spec(spec)
        given: dict[str, Any] = {"run_id": f"run{self._runs}" if run_id is None else run_id, "spec": data}
        return await self.coordinator.submit(SubmitRun(**(given | fields)))

    async def publish(self, body: bytes) -> None:
        """A message in the inbox, whatever it is."""
        await self.bus.publish(Envelope(exchange=Exchange.REPORTS, body=body))

    async def report(self, *reports: Report) -> None:
        await self.publish(encode(Reports(reports=reports)))

    async def order(self) -> Order:
        """The next order."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.orders.get()

    def completed(self, order: Order, result: object = None, **fields: Any) -> Completed:
        outputs: dict[str, Value] = {"result": inline(result)}
        given: dict[str, Any] = {
            "attempt": order.attempt,
            "token": order.token,
            "runner": "hand",
            "outcome": AttemptState.SUCCEEDED,
            "outputs": outputs,
        }
        return Completed(**(given | fields))

    async def state(self, run_no: int) -> tuple[RunState, str | None]:
        """The run's state, and why it failed."""
        row = await self.store.read(lambda connection: _state.first(connection, run_no=run_no))
        assert row is not None
        return RunState(row[0]), row[1]

    async def states(self, run_no: int) -> list[tuple[int, int, str]]:
        """(node, item, state) of all step runs."""
        return [(n, i, s) for n, i, s in await self.store.read(lambda connection: _steps.rows(connection, run_no=run_no))]

    async def reaches(self, run_no: int, *expected: tuple[int, int, str]) -> None:
        """Waits until these (node, item, state) are all there: on some stores, dispatch comes after the decision."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not {*expected} <= {*await self.states(run_no)}:
                await self.coordinator.ended(run_no, 0.01)

    async def ended(self, run_no: int) -> tuple[RunState, str | None]:
        """The final state."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                state, error = await self.state(run_no)
                if state.is_terminal:
                    return state, error
                await self.coordinator.ended(run_no, 0.05)

    async def outputs(self, run_no: int) -> dict[str, Any]:
        """A run's results, as plain data."""
        row = await self.store.read(lambda connection: _outputs.first(connection, run_no=run_no))
        assert row is not None
        return {name: plain_value(value) for name, value in unpack_values(row[0]).items()}

    async def take_orders(self) -> None:
        async with self.bus.consume(work_queue("default", "cpu"), prefetch=1000) as deliveries:
            async for delivery in deliveries:
                await self._take(delivery)

    async def _take(self, delivery: Delivery) -> None:
        message: Message = decode(delivery.body, COMMAND_LIMIT)
        assert isinstance(message, Order)
        await delivery.acknowledge()
        if self.answer is None:
            await self.orders.put(message)
            return
        name = StepSpec.model_validate_json(message.step).name
        self.executed.append("/".join([name, *map(str, message.index)]))
        found = self.answer(message)
        await self.report(found if isinstance(found, Completed) else self.completed(message, found))


@asynccontextmanager
async def cluster(answer: Callable[[Order], object] | None = None) -> AsyncGenerator[Cluster]:
    """A cluster at work. It is an error if its coordinator ends by itself."""
    made = Cluster(make_store())
    made.answer = answer
    async with serving(made):
        yield made


@asynccontextmanager
async def serving(made: Cluster) -> AsyncGenerator[Cluster]:
    """As `cluster`, for one that was made otherwise."""
    tasks = [asyncio.create_task(work) for work in (made.coordinator.run(), made.take_orders())]
    try:
        yield made
        assert not any(task.done() for task in tasks), "the coordinator has ended by itself"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await made.store.close()
        made.artifacts.close()
