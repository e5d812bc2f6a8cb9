"""What an engine answers when people ask: runs, step runs, reasons. Plain data, the same from every engine and in `--json`."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.messages import Failure, Metric
from penstock.contracts.states import RunState, StepState


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class StepCount(_View):
    """A step's step runs in a run, counted by state. `total` is None while a fan-out is not known."""

    name: str
    kind: Literal["step", "each", "collect"] = "step"
    pool: str = ""
    total: int | None = None
    states: dict[StepState, int] = {}
    hits: int = 0
    nondeterministic: int = 0
    """How many of them made other bytes than the same code with the same inputs had made before."""
    oldest_hit_seconds: float | None = None
    started_at: int | None = None
    ended_at: int | None = None
    attempts: int = 0
    progress: tuple[float, float | None, str] | None = None
    note: str = ""
    """Why nothing moves, where something is awaited."""


class RunView(_View):
    """A run as a whole. Times are microseconds since 1970 UTC."""

    run_id: str
    number: int
    name: str
    """`<pipeline>-<number>`, or the name it was given."""
    workspace: str = "default"
    pipeline: str
    spec_digest: str
    state: RunState
    created_at: int
    started_at: int | None = None
    ended_at: int | None = None
    tags: dict[str, str] = {}
    experiment: str | None = None
    cause: dict[str, Any] = {}
    error: str | None = None
    is_owned_by_live_process: bool = True
    parameters: dict[str, Value] = {}
    resolved: dict[str, str] = {}
    """Named artifacts that were asked for, as `artifact://churn@prod`, to the versions that they were then."""
    outputs: dict[str, Value] = {}
    steps: tuple[StepCount, ...] = ()


class AttemptView(_View):
    number: int
    state: str
    runner: str = ""
    started_at: int | None = None
    ended_at: int | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    failure: Failure | None = None
    log: ArtifactRef | None = None
    log_path: str | None = None
    """Embedded, while it runs: the file that holds its output so far."""


class StepRunView(_View):
    """One step run. `index` is its path through the fan-outs around it: `train/3` is (3,)."""

    step: str
    index: tuple[int, ...] = ()
    state: StepState
    hit: bool = False
    hit_run: str | None = None
    hit_age_seconds: float | None = None
    key: str | None = None
    inputs: dict[str, Value] = {}
    outputs: dict[str, Value] = {}
    failure: Failure | None = None
    is_nondeterministic: bool = False
    """The same code with the same inputs made other bytes before."""
    reason: str = ""
    """Why it was skipped or cancelled, or what it waits for."""
    metrics: tuple[Metric, ...] = ()
    attachments: dict[str, ArtifactRef] = {}
    attempts: tuple[AttemptView, ...] = ()
    started_at: int | None = None
    ended_at: int | None = None


class Difference(_View):
    """One component of a cache key that differs; `before` or `after` is None where it is new or gone."""

    component: str
    before: str | None
    after: str | None


class Why(_View):
    """Why a step run executed, was a hit, was skipped: one `verdict`, and against which run the key was compared."""

    step: str
    index: tuple[int, ...] = ()
    state: StepState
    verdict: str
    compared_with: str | None = None
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()


class Moment(_View):
    """An entry of a run's timeline. `seq` counts without gaps, in the order in which the entries were committed."""

    seq: int
    at: int
    type: str
    step: str | None = None
    item: int | None = None
    attempt: int | None = None
    data: dict[str, Any] = {}


class MetricView(_View):
    """A value that a step logged; `at_step` is the step of a series that it named."""

    step: str
    index: tuple[int, ...] = ()
    name: str
    at_step: int | None = None
    value: float


class Use(_View):
    """What an artifact is to a step run, or as a parameter (`step` None) to a run: its output or input `name`."""

    run: str
    step: str | None = None
    index: tuple[int, ...] = ()
    name: str
    hit: bool = False


class Lineage(_View):
    """Where an artifact came from and where it went, in the newest runs that have to do with it."""

    digest: str
    kind: str
    size: int
    created_at: int
    made_by: tuple[Use, ...] = ()
    read_by: tuple[Use, ...] = ()


class CacheStats(_View):
    """What the cache holds and what it saved. `hit_seconds` sums the seconds of user code that hits did not spend again."""

    entries: int = 0
    hits: int = 0
    hit_seconds: float = 0.0
    artifacts: int = 0
    artifact_bytes: int = 0
    entries_by_step: dict[str, int] = {}
    """`<pipeline>.<step>` to entries."""


class Collected(_View):
    """What a collection freed, or would free."""

    artifacts: int = 0
    freed_bytes: int = 0
    cache_entries: int = 0
    folders: int = 0
    """Leftovers of dead processes: staging files, working directories."""


class ProcessView(_View):
    """A process that drives runs of this home, or did: `is_alive` is whether it still holds its lock."""

    incarnation: str
    pid: int
    is_alive: bool
    runs: tuple[str, ...] = ()
    """Names of its runs that are not terminal."""


class Health(_View):
    """What an engine knows of itself, for `penstock doctor`."""

    engine: str
    schema_found: str
    schema_expected: str
    database_bytes: int = 0
    processes: tuple[ProcessView, ...] = ()
