"""Everything that changes a run's state: `decide`. Pure: no clock, no randomness, no I/O, no logging.

A decision works on a slice of a run's rows. It yields wants; its driver loads the rows into the slice and lets it go on; at the
end the driver writes the slice's dirty rows and `changes` in one transaction. Facts may come twice and in any order: a fact that
no longer applies changes nothing.

    step      waiting ─┬─> skipped                 each      waiting ─> expanding ─> succeeded
                       ├─> checking ─┐             collect   waiting ─> collecting ─> succeeded | failed
                       ├─> succeeded (hit)
                       ├─> asking ─> succeeded | failed (an approval; a registration succeeds at once)
                       └─> ready ⇄ parked          backoff ─> waiting ─> ...  (another attempt)
                             └─> running ─> succeeded | failed | backoff | cancelled
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from penstock.contracts.artifacts import NULL, Value, inline
from penstock.contracts.cache_key import cache_key, input_digests
from penstock.contracts.errors import ContractError
from penstock.contracts.messages import Claim, Completed, Failure, Released, Started
from penstock.contracts.spec import CollectSpec, EachSpec, StepSpec
from penstock.contracts.states import FailureKind, RunState, StepState
from penstock.engine.core import approvals, attempts, fan, hooks, lookup, undispatched
from penstock.engine.core.plan import Alignment, Edge
from penstock.engine.core.resolve import Position, plain_value
from penstock.engine.core.rows import (
    EXPIRE,
    Key,
    StepRow,
    pack_values,
    stopped_because,
)
from penstock.engine.core.slice import Slice, Steps
from penstock.engine.core.wants import (
    Answered,
    Begin,
    Checked,
    Collected,
    Decided,
    Due,
    Expand,
    Fact,
    FailedNodes,
    Fired,
    Groups,
    Lost,
    Resumed,
    StepRuns,
    Stop,
    Want,
    Woken,
    summary_input,
)

WHOLE_RUN: Key = (-1, 0)
"""The place of what concerns no step run, but the run."""
CASCADE = 1000
"""Step runs that one transaction starts at most; the others are due in the next."""


@dataclass(slots=True)
class Decision(Slice):
    """A slice, and the rules by which facts change it."""

    started: int = 0

    def decide(self, facts: Sequence[Fact]) -> Steps:
        """Takes all `facts` in and follows their consequences, as far as one transaction goes."""
        yield from attempts.load(self, facts)
        for fact in facts:
            yield from self._take(fact)
        while self.finished or self.startable:
            yield from self.settle()
            yield from self.start()
        if self.run.open == 0 and self.changes.stop is None and not self.run.state.is_terminal:
            yield from self.finish()

    def _take(self, fact: Fact) -> Steps:
        match fact:
            case Started() | Completed() | Released() | Claim() | Lost():
                if self.run.state.is_terminal:
                    attempts.take_late(self, fact)
                else:
                    yield from attempts.take(self, fact)
            case Begin() if self.run.state is RunState.QUEUED:
                self.begin()
            case Due():
                yield StepRuns(self.unknown(fact.keys))
                self.startable += [row for key in fact.keys if self._is_due(row := self.steps[key])]
            case Expand():
                yield from fan.expand(self, fact)
            case Collected():
                yield from fan.collected(self, fact)
            case Answered() | Checked():
                yield from lookup.end_checking(self, fact)
            case Decided() | Fired() | Woken():
                yield from self._wake(fact)
            case Stop():
                self.changes.timers_done += [(kind, WHOLE_RUN) for kind in ("cancel", "leave")]
                self.stop(fact.reason, fact.text)
                if fact.leaves_hooks and self.run.state is RunState.FINISHING:
                    yield from hooks.leave(self)
            case Resumed():
                self.run.owner = fact.owner
            case _:
                pass

    def begin(self) -> None:
        """The run's outermost nodes."""
        self.run.state = RunState.RUNNING
        self.run.started_at = self.now
        self.note("run.started")
        for number in self.wanted(self.plan.members.get((), [])):
            node = self.plan.nodes[number]
            self.add_step(number, 0, 0, len(node.edges_in))

    def settle(self) -> Steps:
        """Tells the children of what has ended."""
        rows, self.finished = self.finished, []
        same = [(edge.child, row.item) for row in rows for edge in self._edges(row, Alignment.SAME)]
        groups = [(row.node, row.parent_item) for row in rows if self.plan.nodes[row.node].chain]
        yield StepRuns(self.unknown(same))
        yield Groups([key for key in dict.fromkeys(groups) if key not in self.groups])
        closed: list[Key] = []
        for row in rows:
            self.run.open -= 1
            if self.plan.nodes[row.node].chain and self._count(row):
                closed.append((row.node, row.parent_item))
            if isinstance(self.plan.nodes[row.node].spec, EachSpec):
                closed += self._empty(row)
            for edge in self._edges(row, Alignment.SAME):
                self.arrive((edge.child, row.item))
        collects = [(edge.child, item) for node, item in closed for edge in self._edges_of(node, Alignment.GROUP)]
        yield StepRuns(self.unknown(collects))
        for key in collects:
            self.arrive(key)
        for row in rows:
            for edge in self._edges(row, Alignment.OUTER):
                yield from self._arrive_inside(edge, row)
            for collect in self.plan.nodes[row.node].until_of:
                yield from fan.until(self, collect, row)

    def _edges(self, row: StepRow, alignment: Alignment) -> list[Edge]:
        return self._edges_of(row.node, alignment)

    def _edges_of(self, node: int, alignment: Alignment) -> list[Edge]:
        return [edge for edge in self.plan.nodes[node].edges_out if edge.alignment is alignment]

    def _count(self, row: StepRow) -> bool:
        """Counts an ended item in its group; whether that was the last one."""
        group = self.touch_group(self.groups[row.node, row.parent_item])
        group.remaining -= 1
        group.failed += row.state is StepState.FAILED
        group.skipped += row.state in (StepState.SKIPPED, StepState.CANCELLED)
        return group.remaining == 0

    def _empty(self, row: StepRow) -> list[Key]:
        """A fan-out over nothing has no items that could close its groups."""
        if row.state is StepState.SUCCEEDED and plain_value(row.values()["total"]) > 0:
            return []
        return [(number, row.item) for number in self.wanted(self.plan.inside(row.node))]

    def _arrive_inside(self, edge: Edge, row: StepRow) -> Steps:
        """The parent is outside a fan-out: its children are many, so those that the store holds are told by one statement."""
        chain = self.plan.nodes[edge.child].chain
        outside = [row.item]
        for each in chain[len(self.plan.nodes[row.node].chain) :]:
            yield StepRuns(self.unknown([(each, item) for item in outside]))
            ranges = [fan.written(self.steps[each, item]) for item in outside if (each, item) in self.steps]
            if each is chain[-1]:
                self._tell(edge.child, [(low, high) for low, high in ranges if high > low])
            outside = [item for low, high in ranges for item in range(low, high)]

    def _tell(self, node: int, ranges: list[tuple[int, int]]) -> None:
        for low, high in ranges:
            self.changes.sweeps.append((node, low, high))
            for item in range(low, high):
                row = self.steps.get((node, item))
                if row is not None and row.is_new:
                    self.arrive(row.place)

    def _is_due(self, row: StepRow) -> bool:
        return row.state is StepState.WAITING and row.waiting == 0

    def start(self) -> Steps:
        """Starts what has everything it needs; what is over the cascade's limit stays due."""
        rows = [row for row in self.startable if self._is_due(row)]
        room = max(0, CASCADE - self.started)
        self.startable = []
        rows = rows[:room]
        self.started += len(rows)
        if self.changes.stop is not None:
            return
        positions = yield from self.load_around(rows)
        keyed: list[StepRow] = []
        undone: list[StepRow] = []
        for row, at in zip(rows, positions, strict=True):
            spec = self.plan.nodes[row.node].spec
            try:
                if self._waits_again(row, at) or not self._may_start(row, spec, at):
                    continue
                match spec:
                    case StepSpec():
                        if self._take_inputs(row, spec, at):
                            (keyed if spec.is_dispatched else undone).append(row)
                    case EachSpec():
                        yield from fan.open_fan(self, row, spec, at)
                    case CollectSpec():
                        yield from fan.close_fan(self, row, spec, at)
            except ContractError as error:
                self.fail(row, Failure(kind=FailureKind.ERROR, message=str(error)))
        yield from lookup.look_up(self, keyed)
        yield from undispatched.perform(self, undone)

    def _waits_again(self, row: StepRow, at: Position) -> bool:
        """Whether something that it takes is being made again, since it was lost."""
        parents = self.parents_at(self.plan.nodes[row.node], at)
        if all(self.steps[key].state.is_terminal for key in parents):
            return False
        untold = {ended.place for ended in self.finished}
        self.touch(row)
        row.waiting = sum(not self.steps[key].state.is_terminal or key in untold for key in parents)
        return True

    def _may_start(self, row: StepRow, spec: StepSpec | EachSpec | CollectSpec, at: Position) -> bool:
        """Whether its conditions hold; ends it where they don't."""
        if self.is_stopping:
            self.end(row, StepState.CANCELLED, stopped_because(self.run.stop))
            return False
        for condition in spec.when:
            value = self.surroundings.resolve(condition, at)
            if value is None:
                self.end(row, StepState.SKIPPED, self._why_missing(row, at) or "its condition could not be evaluated")
                return False
            if not plain_value(value):
                self.end(row, StepState.SKIPPED, "its condition is false")
                return False
        for name in spec.after:
            number = self.plan.numbers[name]
            before = self.steps[number, at[len(self.plan.nodes[number].chain)]]
            allowed = getattr(self.plan.nodes[number].spec, "allow_failure", False)
            if before.state is not StepState.SUCCEEDED and not (before.state is StepState.FAILED and allowed):
                self.end(row, StepState.SKIPPED, f"{name} {before.state.value}")
                return False
        return True

    def _why_missing(self, row: StepRow, at: Position) -> str | None:
        for key in self.parents_at(self.plan.nodes[row.node], at):
            parent = self.steps[key]
            if parent.state is not StepState.SUCCEEDED:
                return f"{self.label(parent)} {'was ' if parent.state is StepState.SKIPPED else ''}{parent.state.value}"
        return None

    def _take_inputs(self, row: StepRow, spec: StepSpec, at: Position) -> bool:
        """Gives the step run its inputs and its key; whether it goes on."""
        if row.node >= len(self.plan.spec.nodes):
            return True  # A hook has its run's summary.
        inputs: dict[str, Value] = {}
        for name, binding in spec.inputs.items():
            value = self.surroundings.resolve(binding, at)
            if value is None:
                if name not in spec.accepts_none:
                    self.end(row, StepState.SKIPPED, self._why_missing(row, at) or f"there is no value for {name!r}")
                    return False
                value = NULL
            inputs[name] = value
        self._set_inputs(row, inputs)
        return True

    def _set_inputs(self, row: StepRow, inputs: dict[str, Value]) -> None:
        self.touch(row)
        row.inputs = pack_values(inputs)
        row.key = cache_key(self.plan.nodes[row.node].static, input_digests(inputs))

    def _wake(self, fact: Decided | Fired | Woken) -> Steps:
        if isinstance(fact, Decided):
            yield from approvals.decided(self, fact)
            return
        if isinstance(fact, Fired):
            self.changes.timers_done.append((fact.kind, fact.place))
            if fact.kind == "timeout":
                self.stop("timeout", f"the run took longer than its time limit of {self.run.options.get('timeout_seconds'):g} s")
                return
            if fact.kind == "abandon":
                yield from attempts.abandon(self)
                return
            if fact.kind == EXPIRE:
                yield from approvals.expired(self, fact.place)
                return
        yield StepRuns(self.unknown([fact.place]))
        row = self.steps[fact.place]
        if row.state in (StepState.BACKOFF, StepState.PARKED):
            self.again(row)

    def finish(self) -> Steps:
        """Every step run has ended: the hooks, then the final state."""
        if self.run.state is RunState.FINISHING:
            self._conclude(RunState(self.run.stop or "succeeded"))
            return
        result = {None: RunState.SUCCEEDED, "cancelled": RunState.CANCELLED}.get(self.run.stop, RunState.FAILED)
        if self.run.error is not None and result is RunState.SUCCEEDED:
            result = RunState.FAILED
        if result is RunState.SUCCEEDED:
            result = yield from self._take_outputs()
        called = hooks.called(self.plan, result)
        if not called:
            self._conclude(result)
            return
        self.run.state, self.run.stop = RunState.FINISHING, result.value
        yield FailedNodes()
        summary = inline(hooks.summary(self, result))
        for node in called:
            row = self.add_step(node.no, 0, 0, 1)
            spec = node.spec
            assert isinstance(spec, StepSpec)  # noqa: S101 - hooks are steps by their type
            row.waiting = 0
            self._set_inputs(row, {summary_input(spec): summary})
            self.make_ready(row)

    def _take_outputs(self) -> Generator[Want, None, RunState]:
        keys = [(number, 0) for number in self.plan.members.get((), [])]
        yield StepRuns(self.unknown(keys))
        outputs: dict[str, Value] = {}
        for name, binding in ({} if self.run.options.get("until") else self.plan.spec.outputs).items():
            try:
                value = self.surroundings.resolve(binding, (0,))
            except ContractError as error:
                self.run.error = f"the run's output {name!r}: {error}"
                return RunState.FAILED
            outputs[name] = NULL if value is None else value
        self.run.outputs = pack_values(outputs)
        return RunState.SUCCEEDED

    def _conclude(self, result: RunState) -> None:
        self.run.state = result
        self.run.ended_at = self.now
        self.note(f"run.{result.value}")
