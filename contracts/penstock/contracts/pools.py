"""Pools: named, homogeneous kinds of compute. A definition says what one slot is, and so how many of them a step takes."""

import math
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from penstock.contracts.errors import InvalidInput
from penstock.contracts.names import checked_name
from penstock.contracts.numbers import Count, Seconds
from penstock.contracts.spec import ResourcesSpec

LANE_WORD = "lane"
"""Stands where a pool's name stands in the key of an order for a served step. No pool may be called so."""


def checked_pool_name(name: str) -> str:
    """:raises InvalidInput: no pool can be called that."""
    if name == LANE_WORD:
        raise InvalidInput(f"a pool can't be called {LANE_WORD!r}: served steps use that word")
    return checked_name(name, "pool")


def _valid_name(name: str) -> str:
    try:
        return checked_pool_name(name)
    except InvalidInput as error:
        raise ValueError(str(error)) from error


PoolName = Annotated[str, AfterValidator(_valid_name)]


class _Definition(BaseModel):
    # People write these: a wrong word is an error, never ignored.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class SlotSpec(_Definition):
    """What one slot of a pool has. A step that needs more takes several slots of one runner."""

    cpu: Annotated[float, Field(gt=0)] = 1.0
    memory_bytes: Annotated[Count, Field(ge=1)] | None = None
    """None: memory is not counted."""
    gpu: Annotated[float, Field(ge=0)] = 0.0
    """GPUs a slot; below 1, several slots share one."""


class Limit(_Definition):
    """At most `at_once` attempts that are dispatched and not closed, and `per_second` new ones, among those that it is about.

    It is about the whole pool; with `step` (`<pipeline>/<step>`) about that step; with `key` about each value of that run tag apart.
    """

    step: str | None = None
    key: str | None = None
    at_once: Annotated[Count, Field(ge=1)] | None = None
    per_second: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.at_once is None and self.per_second is None:
            raise ValueError("a limit needs at_once, per_second, or both")
        if self.step is not None and "/" not in self.step:
            raise ValueError(f"step {self.step!r}: write it as <pipeline>/<step>")
        return self

    @property
    def subject(self) -> str:
        """What it is about, for people."""
        parts = [f"of {self.step}" if self.step is not None else "", f"for each {self.key}" if self.key is not None else ""]
        return " ".join(filter(None, parts)) or "in the pool"

    def describe(self) -> str:
        """`at most 2 at once of retrain/train`."""
        amounts = [f"{self.at_once} at once" if self.at_once is not None else ""]
        amounts += [f"{self.per_second:g} a second" if self.per_second is not None else ""]
        return f"at most {' and '.join(filter(None, amounts))} {self.subject}"


class PoolSpec(_Definition):
    """A pool's definition. Any runner of the pool has `slots_per_runner` slots and can run any step admitted to the pool."""

    name: PoolName
    slot: SlotSpec = SlotSpec()
    slots_per_runner: Annotated[Count, Field(ge=1)] = 4
    min_runners: Count = 0
    max_runners: Count = 1
    """For autoscalers; more may be started by hand."""
    idle_seconds: Seconds = 300.0
    """So long without demand before an autoscaler ends runners above `min_runners`."""
    image: str | None = None
    """The image of its runners, for autoscalers that start containers."""
    limits: tuple[Limit, ...] = ()
    on_memory: PoolName | None = None
    """The pool for another try of a step that ran out of memory here and can't have more slots."""
    is_draining: bool = False
    """Nothing is dispatched to it; what is ready waits."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.min_runners > self.max_runners:
            raise ValueError(f"min_runners ({self.min_runners}) is above max_runners ({self.max_runners})")
        if self.on_memory == self.name:
            raise ValueError("on_memory names the pool itself; name another one")
        return self

    def slots_needed(self, resources: ResourcesSpec) -> int | None:
        """How many slots have what a step needs, be it more than a runner has; None where no number of slots has."""
        slots = max(1, _quotient(resources.cpu, self.slot.cpu))
        if resources.memory_bytes is not None and self.slot.memory_bytes is not None:
            slots = max(slots, math.ceil(resources.memory_bytes / self.slot.memory_bytes))
        if resources.gpu:
            if not self.slot.gpu:
                return None
            slots = max(slots, _quotient(resources.gpu, self.slot.gpu))
        return slots

    def slots_for(self, resources: ResourcesSpec) -> int | None:
        """How many slots a step with these needs; None where no runner of the pool has enough."""
        slots = self.slots_needed(resources)
        return slots if slots is not None and slots <= self.slots_per_runner else None

    def offer(self) -> str:
        """What its largest step may need, for people: `4 CPUs, 16.0 GiB, 1 GPU`."""
        count = self.slots_per_runner
        parts = [f"{self.slot.cpu * count:g} CPUs"]
        if self.slot.memory_bytes is not None:
            parts.append(f"{self.slot.memory_bytes * count / 2**30:.1f} GiB")
        if self.slot.gpu:
            parts.append(f"{self.slot.gpu * count:g} GPUs")
        return ", ".join(parts)


def _quotient(needed: float, each: float) -> int:
    # 0.3 / 0.1 is a little more than 3.
    return math.ceil(round(needed / each, 9))


def decode_pool(plain: dict[str, Any]) -> PoolSpec:
    """The definition in plain data.

    :raises InvalidInput: naming the place and what is wrong there.
    """
    try:
        return PoolSpec.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        name = plain.get("name", "?")
        raise InvalidInput(f"the definition of the pool {name!r}: {place}: {first['msg'].removeprefix('Value error, ')}") from error
