"""Runs decided by hand: a test says what was reported, the ledger decides it on a store in memory, one transaction a fact."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.artifacts import DirectoryManifest, Value, inline
from penstock.contracts.messages import (
    AttemptKey,
    AttemptOutcome,
    Claim,
    ClaimAnswer,
    Completed,
    Failure,
    Order,
    Released,
    RunOptions,
    Started,
    SubmitRun,
)
from penstock.contracts.pools import PoolSpec, decode_pool
from penstock.contracts.spec import PipelineSpec, encode_spec
from penstock.contracts.states import AttemptState, FailureKind, StepState
from penstock.engine.batch import Chore, work
from penstock.engine.core.plan import plan_of
from penstock.engine.core.resolve import plain_value
from penstock.engine.core.rows import pack_values, unpack_values
from penstock.engine.core.slice import Circumstances
from penstock.engine.core.wants import Begin, Due, Fact, Fired, Lost, Stop
from penstock.engine.dispatcher import Dispatcher
from penstock.engine.pools import PoolKey, apply_pool
from penstock.engine.runs import submit

SECOND = 1_000_000
RUNNER = "runner-1"


class Ledger:
    """Orders, cancellations and answers are kept as they were made; `now` is the clock."""

    def __init__(self, connection: Connection, slots: int = 100) -> None:
        self.connection = connection
        self.now = 1_000 * SECOND
        self.orders: list[Order] = []
        self.cancelled: list[AttemptKey] = []
        self.answers: list[ClaimAnswer] = []
        self.chores: list[Chore] = []
        self.manifests: dict[str, DirectoryManifest] = {}
        self.slots: dict[PoolKey, list[int]] = {("default", "cpu"): [slots]}
        """Those of each runner."""
        self._dispatcher = Dispatcher(key=b"key")
        self._specs: dict[int, bytes] = {}

    def define(self, name: str = "cpu", *, runners: int = 1, **fields: Any) -> PoolSpec:
        """A pool with that many runners as it is defined."""
        spec = decode_pool({"name": name, **fields})
        apply_pool(self.connection, "default", spec, self.now)
        self.slots["default", name] = [spec.slots_per_runner] * runners
        return spec

    def submit(
        self, spec: PipelineSpec, *, options: RunOptions | None = None, tags: dict[str, str] | None = None, **parameters: object
    ) -> int:
        """Makes a run on plain parameters and begins it."""
        return self.submit_values(spec, options, tags, **{name: inline(value) for name, value in parameters.items()})

    def submit_values(
        self, spec: PipelineSpec, options: RunOptions | None = None, tags: dict[str, str] | None = None, **parameters: Value
    ) -> int:
        request = SubmitRun(
            run_id=f"run-{len(self._specs) + 1}",
            spec=encode_spec(spec),
            parameters=parameters,
            options=options or RunOptions(),
            tags=tags or {},
        )
        number, _ = submit(self.connection, request, self.now)
        self._specs[number] = request.spec
        self.tell(number, Begin())
        return number

    def tell(self, run: int, *facts: Fact) -> None:
        """Decides the facts together, and what is due after them."""
        pending: Sequence[Fact] = facts
        while pending:
            circumstances = Circumstances(now=self.now, check_after=600 * SECOND, manifests=self.manifests)
            outcome = work(self.connection, {run: pending}, circumstances, self._dispatcher, self.slots)
            self.orders += outcome.orders
            self.cancelled += outcome.cancellations
            self.answers += [answer for _, answer in outcome.answers]
            self.chores = [chore for chore in outcome.chores if chore.state is not StepState.WAITING]
            due = [(chore.node, chore.item) for chore in outcome.chores if chore.state is StepState.WAITING]
            pending = [Due(due)] if due else []

    def dispatch(self) -> None:
        """Gives out what there is room for."""
        self.orders += self._dispatcher.dispatch(self.connection, self.slots, self.now)

    def mark_sent(self, order: Order) -> None:
        self._dispatcher.mark_sent(self.connection, [order.attempt], self.now)

    def unsent(self, patience: int) -> list[Order]:
        """What is to be sent again, where orders that nobody names get so many microseconds."""
        return [order for order, _ in self._dispatcher.unsent(self.connection, self.now - 2 * SECOND, self.now - patience)]

    def learn(self, seconds: float) -> None:
        """An attempt took so long."""
        self._dispatcher.learn([("default", "cpu")], seconds)

    @property
    def spare(self) -> int:
        """How many reports may come before a slot has nothing to do."""
        return self._dispatcher.spare

    @property
    def next_at(self) -> int | None:
        """When a rate lets the next one through."""
        return self._dispatcher.take_next_at()

    def stop(self, run: int) -> None:
        self.tell(run, Stop("cancelled"))

    def token(self, attempt: AttemptKey) -> str:
        return self._dispatcher.token("default", attempt)

    # Reports

    @property
    def given_out(self) -> list[str]:
        """The names of the steps that were ordered, in order."""
        return [order.step_name for order in self.orders]

    def order(self, run: int, step: str, item: int = 0) -> Order:
        """The newest order of that step run."""
        node = self.node(run, step)
        found = [o for o in self.orders if (o.attempt.run_no, o.attempt.step_no, o.attempt.item_no) == (run, node, item)]
        assert found, f"{step}/{item} was not ordered; it is {self.state(run, step, item)}"
        return found[-1]

    def plain_inputs(self, run: int, step: str, item: int = 0) -> dict[str, Any]:
        """What the newest order of a step run gives it, as plain data."""
        return {name: plain_value(value) for name, value in self.order(run, step, item).inputs.items()}

    def start(self, run: int, step: str, item: int = 0, runner: str = RUNNER) -> Order:
        order = self.order(run, step, item)
        self.tell(run, Started(attempt=order.attempt, token=order.token, runner=runner))
        return order

    def succeed(self, run: int, step: str, item: int = 0, value: object = 1, **fields: Any) -> Order:
        order = self.order(run, step, item)
        self.tell(run, self.success(order, inline(value), **fields))
        return order

    def success(self, order: Order, value: Value, **fields: Any) -> Completed:
        return Completed(
            attempt=order.attempt, token=order.token, runner=RUNNER, outcome=AttemptState.SUCCEEDED, outputs={"result": value}, **fields
        )

    def fail(self, run: int, step: str, item: int = 0, kind: FailureKind = FailureKind.ERROR) -> Order:
        order = self.order(run, step, item)
        self.end(order, AttemptState.FAILED, failure=Failure(kind=kind, message="boom"))
        return order

    def end(self, order: Order, outcome: AttemptOutcome, **fields: Any) -> None:
        """How an attempt ended that did not succeed."""
        self.tell(order.attempt.run_no, Completed(attempt=order.attempt, token=order.token, runner=RUNNER, outcome=outcome, **fields))

    def release(self, order: Order) -> None:
        self.tell(order.attempt.run_no, Released(attempt=order.attempt, token=order.token, runner=RUNNER, reason="it goes"))

    def packed(self, **values: Value) -> bytes:
        """Outputs as chores bring them."""
        return pack_values(values)

    def lose(self, order: Order, *, counts: bool = True) -> None:
        """Its runner is gone."""
        key = order.attempt
        self.tell(key.run_no, Lost((key.step_no, key.item_no), key.attempt_no, counts=counts))

    def claim(self, order: Order, runner: str = RUNNER, incarnation: str = "first") -> ClaimAnswer:
        claim = Claim(attempt=order.attempt, token=order.token, runner=runner, incarnation=incarnation, reply_to="q")
        self.tell(order.attempt.run_no, claim)
        return self.answers[-1]

    # What is in the store

    def node(self, run: int, step: str) -> int:
        plan = plan_of(self._specs[run])
        return next(node.no for node in plan.nodes if node.name == step)

    def state(self, run: int, step: str, item: int = 0) -> str:
        return str(self._column(run, step, item, "state"))

    def reason(self, run: int, step: str, item: int = 0) -> str:
        return str(self._column(run, step, item, "reason"))

    def flags(self, run: int, step: str, item: int = 0) -> int:
        return int(self._column(run, step, item, "flags"))

    def _column(self, run: int, step: str, item: int, column: str) -> Any:
        place = (run, self.node(run, step), item)
        row = self.connection.exec_driver_sql(f"SELECT {column} FROM step_run WHERE run_no = ? AND node = ? AND item = ?", place).fetchone()  # noqa: S608 - a constant
        assert row is not None, f"there is no step run {step}/{item}"
        return row[0]

    def states(self, run: int, step: str) -> list[str]:
        """The states of a step's items, in order."""
        place = (run, self.node(run, step))
        rows = self.connection.exec_driver_sql("SELECT state FROM step_run WHERE run_no = ? AND node = ? ORDER BY item", place)
        return [row[0] for row in rows]

    def run(self, run: int) -> str:
        """The run's state, and why, where it failed."""
        row = self.connection.exec_driver_sql("SELECT state, error FROM run WHERE run_no = ?", (run,)).one()
        return f"{row[0]}: {row[1]}" if row[1] else str(row[0])

    def outputs(self, run: int) -> dict[str, Any]:
        """What the run gave, as plain data."""
        row = self.connection.exec_driver_sql("SELECT outputs FROM run WHERE run_no = ?", (run,)).one()
        return {name: plain_value(value) for name, value in unpack_values(row[0]).items()}

    def timers(self, run: int) -> list[tuple[str, int]]:
        """The kind of each timer that is set, and the seconds until it fires."""
        rows = self.connection.exec_driver_sql("SELECT kind, fire_at FROM timer WHERE run_no = ? ORDER BY fire_at", (run,))
        return [(kind, round((fire_at - self.now) / SECOND)) for kind, fire_at in rows]

    def fire(self, run: int, kind: str, *, again: bool = False) -> None:
        """Lets the time come at which the run's timer of that kind fires; `again`: two coordinators see it."""
        rows = self.connection.exec_driver_sql("SELECT node, item, fire_at FROM timer WHERE run_no = ? AND kind = ?", (run, kind))
        node, item, fire_at = rows.one()
        self.now = max(self.now, fire_at)
        for _ in range(1 + again):
            self.tell(run, Fired(kind, (node, item)))

    def attempt_state(self, attempt: AttemptKey) -> str:
        place = (attempt.run_no, attempt.step_no, attempt.item_no, attempt.attempt_no)
        rows = self.connection.exec_driver_sql("SELECT state FROM attempt WHERE run_no = ? AND node = ? AND item = ? AND number = ?", place)
        return str(rows.scalar_one())
