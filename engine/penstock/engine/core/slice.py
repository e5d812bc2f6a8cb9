"""The slice: those rows of one run that a decision has loaded or made, and the elementary changes of them.

Nothing here follows consequences: what ended waits in `finished`, what may start in `startable`, for the decision to take up.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.contracts.artifacts import DirectoryManifest
from penstock.contracts.bindings import FromItem, walk
from penstock.contracts.messages import AttemptKey, Failure
from penstock.contracts.pools import PoolSpec
from penstock.contracts.spec import CollectSpec, StepSpec, node_bindings
from penstock.contracts.states import RunState, StepState
from penstock.engine.core.lanes import LaneKey, Lanes, lane_if_served, pool_of
from penstock.engine.core.placement import Placement, Pools, can_raise, placement
from penstock.engine.core.plan import Alignment, Plan, PlanNode
from penstock.engine.core.resolve import Position, Surroundings
from penstock.engine.core.rows import EXPIRE, ApprovalRow, AttemptRow, CacheRow, GroupRow, ItemRow, Key, Moment, ReadyRow, RunRow, StepRow
from penstock.engine.core.wants import Cancellation, Changes, Items, StepRuns, Want

Steps = Iterator[Want]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision may look at besides rows. Times are microseconds."""

    now: int
    check_after: int
    """A cache entry whose bytes were seen less than so long ago needs no check."""
    manifests: Mapping[str, DirectoryManifest | str]
    """Of directories, by digest; or why one can't be had."""
    only_pool: str | None = None
    """Embedded: the local slots stand for every pool."""
    lanes: Lanes = field(default_factory=dict[LaneKey, frozenset[str]])
    asks_others: bool = False
    """Whether other engines may know a cache key that this one's rows don't."""
    pools: Pools = field(default_factory=dict[str, PoolSpec])
    """The definitions of the run's workspace."""


@dataclass(slots=True)
class Slice:
    """The slice of one run's rows, and what becomes of it."""

    plan: Plan
    run: RunRow
    circumstances: Circumstances
    steps: dict[Key, StepRow] = field(default_factory=dict[Key, StepRow])
    groups: dict[Key, GroupRow] = field(default_factory=dict[Key, GroupRow])
    items: dict[Key, ItemRow] = field(default_factory=dict[Key, ItemRow])
    attempts: dict[tuple[int, int, int], AttemptRow] = field(default_factory=dict[tuple[int, int, int], AttemptRow])
    cache: dict[str, CacheRow | None] = field(default_factory=dict[str, CacheRow | None])
    pins: dict[Key, StepRow] = field(default_factory=dict[Key, StepRow])
    approvals: dict[Key, ApprovalRow] = field(default_factory=dict[Key, ApprovalRow])
    newest: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    """Of named artifacts: the number and the content digest of the newest version."""
    failed_nodes: set[int] = field(default_factory=set[int])
    """As they were before this decision."""
    next_item: dict[int, int] = field(default_factory=dict[int, int])
    new_items: list[ItemRow] = field(default_factory=list[ItemRow])
    dirty_steps: dict[Key, int] = field(default_factory=dict[Key, int])
    """Changed step runs, with `waiting` as it was loaded."""
    dirty_groups: set[Key] = field(default_factory=set[Key])
    dirty_attempts: set[tuple[int, int, int]] = field(default_factory=set[tuple[int, int, int]])
    changes: Changes = field(default_factory=Changes)
    finished: list[StepRow] = field(default_factory=list[StepRow])
    startable: list[StepRow] = field(default_factory=list[StepRow])

    @property
    def now(self) -> int:
        return self.circumstances.now

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(self.plan, self.run.parameters(), self.steps, self.items, self.circumstances.manifests)

    @property
    def is_stopping(self) -> bool:
        """Nothing new starts. Hooks do: they come after the stop."""
        return self.run.stop is not None and self.run.state is not RunState.FINISHING

    def unknown(self, keys: Iterable[Key]) -> list[Key]:
        """Those of `keys` whose step runs are not in the slice."""
        return [key for key in dict.fromkeys(keys) if key not in self.steps]

    def wanted(self, numbers: Sequence[int]) -> list[int]:
        """Those of the nodes that this run is about: all, or what leads to the step where it stops."""
        until = self.run.options.get("until")
        if until is None:
            return list(numbers)
        leading = self.plan.up_to(until)
        return [number for number in numbers if number in leading]

    def touch(self, row: StepRow) -> StepRow:
        """Marks a step run as changed; call it before changing `waiting`."""
        self.dirty_steps.setdefault(row.place, row.waiting)
        return row

    def touch_group(self, group: GroupRow) -> GroupRow:
        self.dirty_groups.add((group.node, group.parent_item))
        return group

    def add_step(self, node: int, item: int, parent_item: int, waiting: int) -> StepRow:
        row = StepRow(node=node, item=item, parent_item=parent_item, state=StepState.WAITING, waiting=waiting, is_new=True)
        self.steps[row.place] = row
        self.touch(row)
        self.run.open += 1
        if waiting == 0:
            self.startable.append(row)
        return row

    def note(self, type_: str, row: StepRow | None = None, attempt: int | None = None, **data: object) -> None:
        """A line of the timeline."""
        place = (None, None) if row is None else row.place
        self.changes.moments.append(Moment(type_, place[0], place[1], attempt, data))

    def end(self, row: StepRow, state: StepState, reason: str | None = None) -> None:
        """The step run ends; its consequences follow in `settle`."""
        self.touch(row)
        if row.state is StepState.RUNNING and row.key is not None:
            self.changes.flights_over.append(row.key)
        if row.state is StepState.ASKING:
            self.changes.timers_done.append((EXPIRE, row.place))
            if state is StepState.CANCELLED:
                self.changes.withdrawn.append(row.place)
        row.state = state
        row.reason = reason
        row.ended_at = self.now
        self.finished.append(row)
        self.note(f"step.{state.value}", row, reason=reason) if reason else self.note(f"step.{state.value}", row)

    def fail(self, row: StepRow, failure: Failure) -> None:
        """The step run fails for good, and with it the run, unless that is allowed."""
        row.failure = pack_failure(failure)
        self.end(row, StepState.FAILED, failure.message)
        spec = self.plan.nodes[row.node].spec
        if self.run.state is RunState.FINISHING or (isinstance(spec, StepSpec) and spec.allow_failure) or self._may_miss(row):
            return
        if self.run.error is None:
            self.run.error = f"{self.label(row)}: {failure.message}"
        if not self.run.options.get("keep_going"):
            self.stop("failed", self.run.error)

    def _may_miss(self, row: StepRow) -> bool:
        """Whether a collect above decides what a failure of this item means."""
        for edge in self.plan.nodes[row.node].edges_out:
            child = self.plan.nodes[edge.child].spec
            if edge.alignment is Alignment.GROUP and isinstance(child, CollectSpec) and (child.missing != "fail" or child.at_least < 1):
                return True
        chain = self.plan.nodes[row.node].chain
        below = [e for e in self.plan.nodes[row.node].edges_out if e.alignment is not Alignment.GROUP]
        # What depends on it item by item is skipped with it, up to the collect that closes the fan-out.
        return bool(chain) and any(self._may_miss_through(edge.child) for edge in below)

    def _may_miss_through(self, node: int) -> bool:
        probe = StepRow(node=node, item=0, parent_item=0, state=StepState.WAITING, waiting=0)
        return self._may_miss(probe)

    def label(self, row: StepRow) -> str:
        """`train/3`: how people name a step run."""
        node = self.plan.nodes[row.node]
        item = self.items.get((node.chain[-1], row.item)) if node.chain else None
        path = item.path if item is not None else (row.item,) if node.chain else ()
        return "/".join([node.name, *map(str, path)])

    def arrive(self, key: Key) -> None:
        """One more edge of that step run has arrived."""
        row = self.steps.get(key)
        if row is None or row.state is not StepState.WAITING:
            return
        self.touch(row)
        row.waiting -= 1
        if row.waiting == 0:
            self.startable.append(row)

    def load_around(self, rows: Sequence[StepRow]) -> Generator[Want, None, list[Position]]:
        """Loads what the bindings of `rows` look at; returns each one's position."""
        positions: list[Position] = []
        for row in rows:
            at = yield from self.position(self.plan.nodes[row.node], row.item, row.parent_item)
            positions.append(at)
        steps: list[Key] = []
        items: list[Key] = []
        for row, at in zip(rows, positions, strict=True):
            node = self.plan.nodes[row.node]
            steps += self.parents_at(node, at)
            items += self._items_at(node, at)
        yield StepRuns(self.unknown(steps))
        yield Items([key for key in dict.fromkeys(items) if key not in self.items])
        return positions

    def position(self, node: PlanNode, item: int, parent_item: int) -> Generator[Want, None, Position]:
        """The items around a step run, outermost first, its own last."""
        if not node.chain:
            return (0,)
        at = [parent_item, item]
        for each in reversed(node.chain[:-1]):
            if len(at) == len(node.chain) + 1:
                break
            if each is node.chain[0]:
                at.insert(0, 0)
                continue
            if (each, at[0]) not in self.items:
                yield Items([(each, at[0])])
            at.insert(0, self.items[each, at[0]].parent_item)
        return (0, item) if len(node.chain) == 1 else tuple(at)

    def parents_at(self, node: PlanNode, at: Position) -> list[Key]:
        """The step runs outside a fan-out or beside it that `node` depends on, for the node at that position."""
        return [
            (edge.parent, at[len(self.plan.nodes[edge.parent].chain)]) for edge in node.edges_in if edge.alignment is not Alignment.GROUP
        ]

    def _items_at(self, node: PlanNode, at: Position) -> list[Key]:
        keys = [(node.chain[-1], at[-1])] if node.chain else []
        for binding in node_bindings(node.spec):
            for part in walk(binding):
                if isinstance(part, FromItem):
                    each = self.plan.numbers[part.item]
                    level = len(self.plan.nodes[each].chain) + 1
                    if level < len(at):
                        keys.append((each, at[level]))
        return keys

    def is_forced(self, row: StepRow) -> bool:
        """Whether this run must execute it, whatever is known."""
        rerun = self.run.options.get("rerun") or ()
        return "all" in rerun or self.plan.nodes[row.node].name in rerun

    def again(self, row: StepRow) -> None:
        """Another attempt, after another look at the cache."""
        self.touch(row)
        row.state, row.waiting = StepState.WAITING, 0
        self.startable.append(row)

    def make_ready(self, row: StepRow) -> None:
        """Everything is there; a slot is awaited."""
        spec = self.plan.nodes[row.node].spec
        if not isinstance(spec, StepSpec):
            return
        self.touch(row)
        row.state = StepState.READY
        place = self._placement(row, spec)
        priority = int(self.run.options.get("priority", 0))
        self.changes.ready.append(ReadyRow(pool=place.pool, priority=priority, fair=0, node=row.node, item=row.item, slots=place.slots))

    def _placement(self, row: StepRow, spec: StepSpec) -> Placement:
        if self.circumstances.only_pool is not None:
            return Placement(self.circumstances.only_pool)
        lane = lane_if_served(self.run, spec, self.circumstances.lanes)
        if lane is not None:
            return Placement(lane)
        return placement(self.circumstances.pools, pool_of(self.run, spec), spec.resources, row.memory_raises)

    def can_have_more_memory(self, row: StepRow) -> bool:
        """Whether a pool's definition has more for a step run that ran out of it."""
        spec = self.plan.nodes[row.node].spec
        if not isinstance(spec, StepSpec) or self.circumstances.only_pool is not None:
            return False
        return can_raise(self.circumstances.pools, pool_of(self.run, spec), spec.resources, row.memory_raises)

    def stop(self, reason: str, text: str | None = None) -> None:
        """Nothing new starts; what runs is asked to end; the rest is cancelled (the repository reaches what is not in the slice)."""
        if self.run.state.is_terminal or self.run.state is RunState.FINISHING or self.run.stop is not None:
            return
        self.run.stop = reason
        self.run.error = self.run.error or text
        self.changes.stop = reason
        self.note("run.stopping", reason=reason)

    def cancel_attempt(self, row: StepRow, reason: str) -> None:
        """Asks the runner of the current attempt to stop it."""
        key = AttemptKey(run_no=self.run.run_no, step_no=row.node, item_no=row.item, attempt_no=row.attempts)
        self.changes.cancellations.append(Cancellation(key, reason))


def pack_failure(failure: Failure) -> bytes:
    """A failure as bytes for the store."""
    return failure.model_dump_json(exclude_defaults=True).encode()
