"""What one seed stands for: the cluster, the pipeline, the runs, and what goes wrong."""

import random
from dataclasses import dataclass, field, replace

from penstock.contracts.messages import RunOptions, Service
from penstock.contracts.names import lane_of
from penstock.contracts.pools import Limit, PoolSpec
from penstock.contracts.spec import PipelineSpec, ResourcesSpec, StepSpec
from tests.simulation.bus import BusFaults
from tests.simulation.pipelines import is_long, random_pipeline
from tests.simulation.questions import with_people
from tests.simulation.store import StoreFaults

FAULTS = (
    "kill coordinator",
    "kill coordinator",
    "kill runner",
    "kill runner",
    "freeze runner",
    "freeze coordinator",
    "freeze coordinator",
    "cut anybody",
    "purge pool",
    "purge inbox",
    "lose blob",
    "forge",
    "drain runner",
)

FAULTS_OF_SERVICES = ("kill service", "freeze service", "drain service", "retire service", "retire service", "cut service", "purge lane")


@dataclass(frozen=True, slots=True)
class PlannedRun:
    run_id: str
    at: float
    options: RunOptions = field(default_factory=RunOptions)
    cancel_after: float | None = None
    tags: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class PlannedService:
    """A runner that serves steps from `at` on."""

    at: float
    services: tuple[Service, ...]
    slots: int

    @property
    def lanes(self) -> dict[str, int]:
        return {lane_of(service.pipeline, service.step): self.slots for service in self.services}


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything is drawn when it is made; `calm` is the same without faults."""

    seed: int
    spec: PipelineSpec
    runs: tuple[PlannedRun, ...]
    is_embedded: bool
    is_concurrent: bool
    """The store is one on which transactions run side by side; drawn apart, so that the rest of a seed's scenario is as without."""
    coordinators: int
    runners: tuple[dict[str, int], ...]
    services: tuple[PlannedService, ...]
    """These and what befalls them are drawn apart too."""
    patience: float
    young: float
    heartbeat: float
    slow: float
    """The share of executions that last."""
    check_after: float
    horizon: float
    """Nothing goes wrong afterwards."""
    bus: BusFaults = field(default_factory=BusFaults)
    store: StoreFaults = field(default_factory=StoreFaults)
    misfortunes: tuple[tuple[float, str], ...] = ()
    pools: tuple[PoolSpec, ...] = ()

    @property
    def calm(self) -> "Scenario":
        runs = tuple(replace(run, cancel_after=None) for run in self.runs)
        return replace(self, runs=runs, bus=BusFaults(), store=StoreFaults(), misfortunes=(), horizon=0.0)


def scenario(seed: int) -> Scenario:
    """The scenario of a seed."""
    rng = random.Random(f"scenario {seed}")
    spec = random_pipeline(rng)
    is_embedded = rng.random() < 0.25
    horizon = rng.choice([5.0, 10.0, 20.0, 40.0])
    calm = rng.random() < 0.1
    drawn = Scenario(
        seed=seed,
        spec=spec,
        runs=_runs(rng, spec, seed, horizon),
        is_embedded=is_embedded,
        is_concurrent=not is_embedded and random.Random(f"store {seed}").random() < 0.5,
        coordinators=rng.choice([1, 1, 2]),
        runners=_runners(rng),
        services=() if is_embedded else _services(random.Random(f"services {seed}"), spec, horizon),
        patience=rng.choice([6.0, 12.0, 12.0, 30.0]),
        slow=0.0 if is_long(spec) else rng.choice([0.05, 0.2, 0.5]),
        young=rng.choice([0.2, 1.0, 3.0]),
        heartbeat=rng.choice([1.0, 2.0]),
        check_after=rng.choice([0.0, 600.0]),
        horizon=horizon,
        bus=BusFaults() if calm or is_embedded else _bus_faults(rng),
        store=StoreFaults() if calm else _store_faults(rng),
        misfortunes=() if calm else _misfortunes(rng, horizon, seed, is_embedded=is_embedded),
    )
    pooled = random.Random(f"pools {seed}")
    if not is_embedded and pooled.random() >= 0.6:
        drawn = _with_pools(drawn, pooled)
    asking = random.Random(f"people {seed}")
    return replace(drawn, spec=with_people(drawn.spec, asking)) if asking.random() < 0.25 else drawn


def _with_pools(drawn: Scenario, rng: random.Random) -> Scenario:
    """The scenario with pools that are defined: steps of several slots, limits, and runs with tags that limits go by."""
    pools = tuple(_pool(name, rng, drawn.spec) for name in ("cpu", "gpu"))
    sizes = {pool.name: pool.slots_per_runner for pool in pools}
    nodes = tuple(
        node.model_copy(update={"resources": ResourcesSpec(cpu=rng.choice([1, 1, 1, 2, sizes[node.pool]]))})
        if isinstance(node, StepSpec)
        else node
        for node in drawn.spec.nodes
    )
    runners = tuple({pool: sizes[pool] for pool in slots} for slots in drawn.runners)
    runs = tuple(replace(run, tags={"who": rng.choice("ab")}) if rng.random() < 0.7 else run for run in drawn.runs)
    return replace(drawn, spec=drawn.spec.model_copy(update={"nodes": nodes}), runners=runners, runs=runs, pools=pools)


def _pool(name: str, rng: random.Random, spec: PipelineSpec) -> PoolSpec:
    steps = [f"{spec.name}/{node.name}" for node in spec.nodes if isinstance(node, StepSpec) and node.pool == name]
    limits = [
        Limit(
            step=rng.choice(steps) if steps and rng.random() < 0.5 else None,
            key="who" if rng.random() < 0.4 else None,
            at_once=rng.choice([1, 1, 2]) if (has_number := rng.random() < 0.7) else None,
            per_second=None if has_number and rng.random() < 0.6 else rng.choice([0.5, 2.0, 30.0]),
        )
        for _ in range(rng.choice([0, 1, 2]))
    ]
    return PoolSpec(name=name, slots_per_runner=rng.choice([2, 3]), limits=tuple(limits), on_memory=rng.choice([None, _other(name)]))


def _other(name: str) -> str:
    return "gpu" if name == "cpu" else "cpu"


def _runs(rng: random.Random, spec: PipelineSpec, seed: int, horizon: float) -> tuple[PlannedRun, ...]:
    runs: list[PlannedRun] = []
    for number in range(rng.choice([1, 1, 2])):
        names = [node.name for node in spec.nodes if isinstance(node, StepSpec)]
        options = RunOptions(
            keep_going=rng.random() < 0.6,
            rerun=(rng.choice(names),) if rng.random() < 0.1 else (),
            until=rng.choice(names) if rng.random() < 0.05 else None,
            priority=rng.choice([0, 0, 3]),
            timeout_seconds=rng.choice([5.0, 20.0]) if rng.random() < 0.05 else None,
            max_parallel=rng.choice([1, 2]) if rng.random() < 0.15 else None,
        )
        cancel = rng.uniform(0.0, horizon / 2) if rng.random() < 0.15 else None
        runs.append(PlannedRun(f"run{number}x{seed}", rng.choice([0.0, 0.0, rng.uniform(0.0, horizon / 2)]), options, cancel))
    return tuple(runs)


def _runners(rng: random.Random) -> tuple[dict[str, int], ...]:
    """The first one serves every pool, so that every step finds somebody."""
    first = {"cpu": rng.randint(1, 2), "gpu": 1}
    more = [rng.choice([{"cpu": 1}, {"cpu": 2}, {"gpu": 1}, {"cpu": 1, "gpu": 1}]) for _ in range(rng.choice([0, 1, 2]))]
    return (first, *more)


def _services(rng: random.Random, spec: PipelineSpec, horizon: float) -> tuple[PlannedService, ...]:
    """Most have the steps' own code, some another, some serve any."""
    planned: list[PlannedService] = []
    for _ in range(rng.choice([0, 1, 1, 2])):
        steps = rng.sample(spec.steps, min(len(spec.steps), rng.randint(1, 3)))
        services = tuple(
            Service(pipeline=spec.name, step=step.name, code=rng.choice([step.code.digest] * 4 + ["", "other"])) for step in steps
        )
        planned.append(PlannedService(rng.choice([0.0, 0.0, rng.uniform(0.0, horizon / 2)]), services, rng.randint(1, 2)))
    return tuple(planned)


def _bus_faults(rng: random.Random) -> BusFaults:
    strength = rng.choice([0.0, 0.05, 0.25])
    return BusFaults(
        refused=rng.random() * strength,
        unconfirmed=rng.random() * strength,
        late=rng.choice([0.0, 0.3]),
        late_seconds=rng.choice([0.5, 4.0]),
        overtakes=rng.choice([0.0, 0.3]),
        repeated=rng.random() * strength * 2,
        dropped=rng.choice([0.0, rng.random() * strength]),
        cancelled=rng.random() * strength * 0.2,
    )


def _store_faults(rng: random.Random) -> StoreFaults:
    strength = rng.choice([0.0, 0.02, 0.1])
    return StoreFaults(unreachable=rng.random() * strength, rolled_back=rng.random() * strength, unknown=rng.random() * strength)


def _misfortunes(rng: random.Random, horizon: float, seed: int, *, is_embedded: bool) -> tuple[tuple[float, str], ...]:
    kinds = ("kill coordinator", "kill coordinator", "lose blob", "drain runner") if is_embedded else FAULTS
    happen = [(rng.uniform(0.0, horizon), rng.choice(kinds)) for _ in range(rng.choice([0, 1, 2, 4, 7, 10]))]
    apart = random.Random(f"misfortunes of services {seed}")
    happen += (
        [] if is_embedded else [(apart.uniform(0.0, horizon), apart.choice(FAULTS_OF_SERVICES)) for _ in range(apart.choice([0, 1, 3, 5]))]
    )
    return tuple(sorted(happen))
