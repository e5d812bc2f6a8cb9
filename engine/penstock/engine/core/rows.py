"""The rows that deciding reads and writes, as plain objects. What is loaded, changed or made is written back by the repository.

Values are kept as packed bytes and unpacked when somebody looks: most rows are written far more often than looked into.
"""

from dataclasses import dataclass, field
from typing import Any

import msgpack
from pydantic import TypeAdapter

from penstock.contracts.artifacts import Value
from penstock.contracts.states import AttemptState, RunState, StepState

_values: TypeAdapter[dict[str, Value]] = TypeAdapter(dict[str, Value])
_value: TypeAdapter[Value] = TypeAdapter(Value)

Key = tuple[int, int]
"""A step run inside a run: (node number, item number)."""


def pack_values(values: dict[str, Value]) -> bytes:
    """Values by name, as bytes for the store."""
    packed: bytes = msgpack.packb({name: value.model_dump(exclude_defaults=True) for name, value in values.items()})
    return packed


def unpack_values(data: bytes | None) -> dict[str, Value]:
    """The inverse of `pack_values`; nothing for None."""
    return _values.validate_python(msgpack.unpackb(data)) if data else {}


def pack_value(value: Value) -> bytes:
    packed: bytes = msgpack.packb(value.model_dump(exclude_defaults=True))
    return packed


def unpack_value(data: bytes) -> Value:
    return _value.validate_python(msgpack.unpackb(data))


@dataclass(slots=True)
class RunRow:
    run_no: int
    run_id: str
    workspace: str
    pipeline: str
    number: int
    name: str
    spec_digest: str
    state: RunState
    params: bytes
    options: dict[str, Any]
    cause: dict[str, Any]
    tags: dict[str, str]
    owner: str | None
    open: int
    """Step runs that exist and have not ended."""
    seq: int
    stop: str | None = None
    """Why nothing new may start: `cancelled`, `failed`, `timeout` or `until`."""
    error: str | None = None
    started_at: int | None = None
    ended_at: int | None = None
    outputs: bytes | None = None
    values: dict[str, Value] | None = None

    def parameters(self) -> dict[str, Value]:
        if self.values is None:
            self.values = unpack_values(self.params)
        return self.values


_DUE = (StepState.EXPANDING, StepState.COLLECTING, StepState.CHECKING)


@dataclass(slots=True)
class StepRow:
    """A step run. `waiting` counts the edges that have not arrived; `parent_item` is the item of the chain one level up."""

    node: int
    item: int
    parent_item: int
    state: StepState
    waiting: int
    attempts: int = 0
    failures: int = 0
    losses: int = 0
    cursor: int = 0
    """`each`: the next item to write down."""
    key: str | None = None
    inputs: bytes | None = None
    outputs: bytes | None = None
    hit_run: int | None = None
    hit_at: int | None = None
    """When the outputs of a hit were made."""
    reason: str | None = None
    failure: bytes | None = None
    flags: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    unpacked: dict[str, Value] | None = None
    is_new: bool = False

    @property
    def place(self) -> Key:
        return (self.node, self.item)

    @property
    def memory_raises(self) -> int:
        """How many times it was given more memory, or another pool, after it had run out of it."""
        return memory_raises_in(self.flags)

    def raise_memory(self) -> None:
        """It ran out of memory, and gets more."""
        self.flags += 1 << _RAISES_SHIFT

    @property
    def is_due(self) -> bool:
        """Whether it needs something done that no report will bring."""
        return self.state in _DUE or (self.state is StepState.WAITING and self.waiting == 0)

    def values(self) -> dict[str, Value]:
        if self.unpacked is None:
            self.unpacked = unpack_values(self.outputs)
        return self.unpacked

    def set_outputs(self, values: dict[str, Value]) -> None:
        self.unpacked = values
        self.outputs = pack_values(values)


def memory_raises_in(flags: int) -> int:
    """As `StepRow.memory_raises`."""
    return flags >> _RAISES_SHIFT


def stopped_because(stop: str | None) -> str:
    """Why a step run of a stopped run was cancelled, for people."""
    return {"failed": "another step failed", "timeout": "the run was out of time"}.get(stop or "", "the run was cancelled")


# Bits of StepRow.flags.
NONDETERMINISTIC = 1
"""The same key gave other bytes before."""
SAW_IDENTITY = 2
"""User code read the run's identity: its outputs are not for reuse."""
_RAISES_SHIFT = 16
"""A number stands above this bit."""
RECOMPUTED = 4
"""Executed again in the same run, since its outputs were lost."""
ASKED_OTHERS = 8
"""Other engines were asked for its outputs."""


@dataclass(slots=True)
class GroupRow:
    """All items of a node under one item of the chain one level up."""

    node: int
    parent_item: int
    base: int
    total: int
    remaining: int
    failed: int = 0
    skipped: int = 0
    is_new: bool = False


@dataclass(slots=True)
class ItemRow:
    """An item of a fan-out: what `each` gives to the nodes inside. `path` is the index path, outermost first."""

    each: int
    item: int
    parent_item: int
    path: tuple[int, ...]
    value: bytes


@dataclass(slots=True)
class AttemptRow:
    node: int
    item: int
    number: int
    state: AttemptState
    pool: str
    slots: int = 1
    incarnation: str = ""
    runner: str = ""
    made_at: int = 0
    sent_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    failure: bytes | None = None
    log: bytes | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    is_new: bool = False


@dataclass(slots=True, frozen=True)
class CacheRow:
    """A cache entry: outputs of a key. A step run of `run_no` made them in `seconds`, at `made_at`; their bytes were last seen at
    `checked_at`."""

    key: str
    outputs: bytes
    run_no: int
    made_at: int
    checked_at: int
    node: int
    item: int
    seconds: float


@dataclass(slots=True)
class ApprovalRow:
    """A question of a run. `evidence` is packed values by name."""

    node: int
    item: int
    question: str
    approvers: tuple[str, ...]
    evidence: bytes
    state: str = "open"
    asked_at: int = 0
    expires_at: int | None = None
    decided_at: int | None = None
    decided_by: str | None = None
    comment: str | None = None


@dataclass(slots=True, frozen=True)
class Registration:
    """A version of a named artifact, which is new or was there, and the alias that means it from now on. `value` is packed."""

    name: str
    version: int
    digest: str
    value: bytes
    alias: str | None
    is_new: bool


@dataclass(slots=True, frozen=True)
class ReadyRow:
    pool: str
    priority: int
    fair: int
    node: int
    item: int
    slots: int = 1


# Kinds of timers about approvals.
ANSWER = "answer"
"""Whoever answers leaves word for the run's coordinator by it."""
EXPIRE = "expire"
"""It fires when nobody has answered in time."""


@dataclass(slots=True, frozen=True)
class TimerRow:
    kind: str
    node: int
    item: int
    fire_at: int


@dataclass(slots=True, frozen=True)
class Moment:
    """A line of a run's timeline."""

    type: str
    node: int | None = None
    item: int | None = None
    attempt: int | None = None
    data: dict[str, Any] = field(default_factory=dict[str, Any])
