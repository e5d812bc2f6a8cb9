"""A trial: one seed from beginning to end, and the verdict on it."""

import asyncio
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import structlog

from penstock.contracts.messages import RunOptions
from tests.simulation.loop import Deadlock
from tests.simulation.mutants import MUTANTS
from tests.simulation.oracle import Watch, environment_failures, judge, outcomes
from tests.simulation.people import answer, asks, judged
from tests.simulation.scenario import PlannedRun, PlannedService, Scenario, scenario
from tests.simulation.world import World

PATIENCE_SECONDS = 200.0
"""Virtual time without any progress after which a world counts as stuck."""
LONGEST_SECONDS = 4000.0


@dataclass(slots=True)
class Verdict:
    seed: int
    violations: list[str] = field(default_factory=list[str])
    fingerprint: str = ""
    virtual_seconds: float = 0.0
    executions: int = 0
    deaths: int = 0
    excused: int = 0
    trace: list[str] = field(default_factory=list[str])


def silence() -> None:
    """Faults are logged by the thousand here."""
    structlog.configure(processors=[_nothing])


def try_seed(seed: int, *, mutant: AbstractContextManager[object] | None = None, keeps_trace: bool = False) -> Verdict:
    """The verdict on a seed; `mutant` is a deliberate bug, present for as long as the trial lasts."""
    plan = scenario(seed)
    verdict = Verdict(seed)
    golden = _golden(plan, verdict)
    with mutant or nullcontext():
        _try(plan, golden, verdict, keeps_trace=keeps_trace)
    return verdict


def caught(name: str, *, seeds: int, first: int = 0) -> Verdict | None:
    """The first verdict of guilty while that bug is present; the seed `first` is tried before the others."""
    for seed in (first, *range(seeds)):
        verdict = try_seed(seed, mutant=MUTANTS[name]())
        if verdict.violations:
            return verdict
    return None


def _golden(plan: Scenario, verdict: Verdict) -> dict[str, tuple[str, bytes | None]]:
    """How each run ends without any fault."""
    world = World(plan.calm)
    try:
        _live(world, verdict)
        verdict.violations += [f"without any fault: {text}" for text in environment_failures(world)]
        return outcomes(world)
    finally:
        world.close()


def _try(plan: Scenario, golden: dict[str, tuple[str, bytes | None]], verdict: Verdict, *, keeps_trace: bool) -> None:
    world = World(plan)
    world.keeps_trace = keeps_trace
    watch = Watch(world)
    try:
        _live(world, verdict)
        verdict.violations += watch.violations
        if not verdict.violations:
            judge(world, golden, verdict)
            verdict.violations += judged(world)
        if not verdict.violations:
            _again(world, verdict)
    finally:
        verdict.fingerprint = world.fingerprint
        verdict.virtual_seconds = world.loop.time()
        verdict.executions = len(world.journal.entries)
        verdict.deaths = sum(not member.is_alive for member in world.members)
        verdict.trace = world.trace_lines
        world.close()
    verdict.violations += watch.violations if not verdict.violations else []


def _live(world: World, verdict: Verdict) -> None:
    """Until everything has ended and nothing is left to do."""
    plan = world.scenario
    world.broker.faults = plan.bus
    world.database.faults = plan.store
    world.start()
    try:
        world.loop.run_until_complete(world.loop.spawn(None, _happen(world)))
    except (Deadlock, TimeoutError) as error:
        verdict.violations.append(f"stuck: {error} {_open(world)}")
    verdict.violations += world.crashes


def _open(world: World) -> str:
    runs = world.database.rows("SELECT run_id, state, stop, open FROM run WHERE ended_at IS NULL")
    steps = world.database.rows(
        "SELECT run_no, node, item, state, waiting, attempts FROM step_run "
        "WHERE state NOT IN ('succeeded', 'failed', 'skipped', 'cancelled') LIMIT 5"
    )
    attempts = world.database.rows(
        "SELECT run_no, node, item, number, state, runner FROM attempt WHERE state IN ('dispatched', 'running') LIMIT 5"
    )
    return f"runs {runs} steps {steps} attempts {attempts} messages {world.broker.depth()}"


async def _happen(world: World) -> None:
    plan = world.scenario
    async with asyncio.TaskGroup() as tasks:
        for run in plan.runs:
            tasks.create_task(_ask_for(world, run))
            if asks(world):
                tasks.create_task(answer(world, run.run_id))
        for number, planned in enumerate(plan.services):
            tasks.create_task(_serve(world, f"v{number}", planned))
        tasks.create_task(_befall(world))
    await _until(world, lambda: _is_quiet(world))


async def _ask_for(world: World, run: PlannedRun) -> None:
    await asyncio.sleep(run.at)
    while world.run_state(run.run_id) is None:
        world.submit(run)
        await asyncio.sleep(2.0)
    if run.cancel_after is None:
        return
    await asyncio.sleep(run.cancel_after)
    while (state := world.run_state(run.run_id)) is not None and not state[0].is_terminal and state[1] is None:
        world.cancel(run)
        await asyncio.sleep(2.0)


async def _serve(world: World, role: str, planned: PlannedService) -> None:
    await asyncio.sleep(planned.at)
    world.start_service(role, planned)


async def _befall(world: World) -> None:
    for at, kind in world.scenario.misfortunes:
        await asyncio.sleep(max(0.0, at - world.loop.time()))
        world.befall(kind)
    if world.scenario.misfortunes or world.scenario.bus.late or world.scenario.store.unknown:
        await asyncio.sleep(max(0.0, world.scenario.horizon - world.loop.time()))
    world.calm_down()


async def _until(world: World, is_reached: Callable[[], bool]) -> None:
    before, since = (0, 0), world.loop.time()
    while not is_reached():
        await asyncio.sleep(1.0)
        moments = world.database.rows("SELECT coalesce(sum(seq), 0) FROM run")[0][0]
        if (progress := (moments, len(world.journal.entries))) != before:
            before, since = progress, world.loop.time()
        if world.loop.time() - since > PATIENCE_SECONDS or world.loop.time() > LONGEST_SECONDS or world.crashes:
            raise TimeoutError("nothing happens any more;")


def _is_quiet(world: World) -> bool:
    """Every run has ended, and nobody does anything any more."""
    runs = world.database.rows("SELECT count(*) FROM run WHERE ended_at IS NULL")[0][0]
    live = world.database.rows("SELECT count(*) FROM attempt WHERE state IN ('dispatched', 'running')")[0][0]
    executing = any(m.launcher.executing for m in world.members if m.is_alive and m.launcher is not None)
    thawed = not any(member.party.is_frozen for member in world.members)
    return not runs and not live and not executing and thawed and world.broker.depth() == 0


def _again(world: World, verdict: Verdict) -> None:
    """The same once more: everything that may be reused is. Then one step by force, all that is not below it pinned."""
    known = {key for (key,) in world.database.rows("SELECT key FROM cache_entry")}
    before, lost = len(world.journal.entries), world.blobs_lost
    run = PlannedRun(f"again{world.scenario.seed}", 0.0)
    world.loop.run_until_complete(world.loop.spawn(None, _once_more(world, run, verdict)))
    for entry in world.journal.entries[before:]:
        if entry.step.cache and entry.order.seed in known and not lost:
            verdict.violations.append(f"{entry.step.name} was executed again, although its key was known")
    if not verdict.violations and world.scenario.seed % 5 == 0:
        forced = world.scenario.spec.steps[0].name
        rerun = PlannedRun(f"rerun{world.scenario.seed}", 0.0, RunOptions(pinned_from=run.run_id, rerun=(forced,)))
        world.loop.run_until_complete(world.loop.spawn(None, _once_more(world, rerun, verdict)))


async def _once_more(world: World, run: PlannedRun, verdict: Verdict) -> None:
    try:
        await _ask_for(world, run)
        if asks(world):
            await answer(world, run.run_id)
        await _until(world, lambda: _is_quiet(world))
    except TimeoutError as error:
        verdict.violations.append(f"stuck in an identical run: {error} {_open(world)}")


def _nothing(_logger: object, _name: str, _event: MutableMapping[str, Any]) -> str:
    raise structlog.DropEvent
