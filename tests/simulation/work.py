"""What steps do in a simulation, and the journal of every execution: a witness outside of the system."""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from typing_extensions import override

from penstock.contracts.artifacts import ArtifactRef, Value, content_digest, inline, refs_in
from penstock.contracts.encoding import canonical, digest_bytes
from penstock.contracts.messages import AttemptKey, Completed, Failure, Order
from penstock.contracts.spec import FunctionTarget, StepSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.launcher import Launcher, ReportProgress
from penstock.transport.artifact_stores.memory import MemoryArtifactStore
from tests.simulation.pipelines import WORDS


@dataclass(slots=True)
class Entry:
    """One execution. `ended_at` stays None where its runner died first."""

    order: Order
    step: StepSpec
    runner: str
    began_at: float
    ended_at: float | None = None
    outcome: str = "unfinished"

    @property
    def attempt(self) -> AttemptKey:
        return self.order.attempt

    @property
    def key(self) -> tuple[int, int, int, int]:
        """Of the attempt's row."""
        return (self.attempt.run_no, self.attempt.step_no, self.attempt.item_no, self.attempt.attempt_no)


@dataclass(slots=True)
class Journal:
    """`failed` counts failures that were told, by run and place: a step that is bound to fail twice succeeds then."""

    entries: list[Entry] = field(default_factory=list[Entry])
    failed: Counter[tuple[str, str, tuple[int, ...]]] = field(default_factory=Counter[tuple[str, str, tuple[int, ...]]])
    when_begun: Callable[[Entry], None] = lambda _: None


@dataclass(slots=True)
class Temper:
    """How steps behave; drawn from their key, so that the same work always fares the same."""

    seed: int
    failing: float = 0.12
    hopeless: float = 0.04
    nosy: float = 0.03
    slow: float = 0.1
    hungry: float = 0.1

    def draw(self, what: str, key: str) -> float:
        digest = hashlib.blake2b(f"{self.seed}/{what}/{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


class SimLauncher(Launcher):
    """Executes orders in virtual time."""

    def __init__(self, runner: str, journal: Journal, artifacts: MemoryArtifactStore, temper: Temper, rng: random.Random) -> None:
        self._runner = runner
        self._journal = journal
        self._artifacts = artifacts
        self._temper = temper
        self._rng = rng
        self.executing = 0

    @override
    async def execute(self, order: Order, step: StepSpec, progress: ReportProgress) -> Completed:
        loop = asyncio.get_running_loop()
        entry = Entry(order, step, self._runner, loop.time())
        self._journal.entries.append(entry)
        self._journal.when_begun(entry)
        self.executing += 1
        try:
            entry.outcome = "cancelled"
            completed = await self._execute(order, step)
            entry.outcome = completed.outcome.value
        finally:
            self.executing -= 1
            entry.ended_at = loop.time()
        return completed

    async def _execute(self, order: Order, step: StepSpec) -> Completed:
        refs = [ref for value in order.inputs.values() for ref in refs_in(value) if not ref.is_inline]
        lost = await self._artifacts.lost(ref.digest for ref in refs)
        if lost:
            return Completed(
                attempt=order.attempt, token=order.token, runner="", outcome=AttemptState.INPUT_LOST, lost_digest=sorted(lost)[0]
            )
        await asyncio.sleep(self._seconds(order))
        if self._is_hungry(order):
            told = Failure(kind=FailureKind.MEMORY, message="it needs more than one slot")
            return Completed(attempt=order.attempt, token=order.token, runner="", outcome=AttemptState.FAILED, failure=told)
        if self._fails(order, step):
            told = Failure(kind=FailureKind.ERROR, message="it was bound to fail")
            return Completed(attempt=order.attempt, token=order.token, runner="", outcome=AttemptState.FAILED, failure=told)
        return Completed(
            attempt=order.attempt,
            token=order.token,
            runner="",
            outcome=AttemptState.SUCCEEDED,
            outputs={"result": await self._result(order, step)},
            saw_identity=self._temper.draw("nosy", order.seed) < self._temper.nosy,
        )

    def _seconds(self, order: Order) -> float:
        if self._rng.random() < self._temper.slow:
            # A few last longer than anybody's patience.
            return self._rng.uniform(2.0, self._rng.choice([6.0, 15.0, 40.0]))
        return self._rng.choice([0.0, 0.01, self._rng.uniform(0.1, 2.0)])

    def _is_hungry(self, order: Order) -> bool:
        """Some need more memory than the one slot has that they ask for, in a pool where more is to be had."""
        is_small = order.slots == 1 and (order.slots_per_runner or 1) > 1
        return is_small and self._temper.draw("hungry", order.seed) < self._temper.hungry

    def _fails(self, order: Order, step: StepSpec) -> bool:
        if self._temper.draw("hopeless", order.seed) < self._temper.hopeless:
            return True
        if self._temper.draw("failing", order.seed) >= self._temper.failing:
            return False
        place = (order.run_id, step.name, order.index)
        bound = 1 + int(self._temper.draw("times", order.seed) * step.retries.limit) if step.retries.limit else 0
        self._journal.failed[place] += 1
        return self._journal.failed[place] <= bound

    async def _result(self, order: Order, step: StepSpec) -> Value:
        value, data = result_of(order, step)
        if data is not None:
            await self._artifacts.write(data)
        return value

    @override
    async def close(self) -> None:
        return


def result_of(order: Order, step: StepSpec) -> tuple[Value, bytes | None]:
    """What a step makes of its inputs, and the bytes that belong into the artifact store."""
    text = "/".join([step.code.digest, *(f"{name}={content_digest(value)}" for name, value in sorted(order.inputs.items()))])
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    assert isinstance(step.run, FunctionTarget)
    match step.run.function:
        case "list":
            return inline([(number >> shift) % WORDS for shift in range(number % 5)]), None
        case "blob":
            data = canonical([number % 1000, "bytes"])
            digest = digest_bytes(data)
            return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(data)), data
        case _:
            return inline(number % WORDS), None
