"""What must hold, whatever went wrong. `Watch` looks at every committed state and every execution; `judge` at what is left in the end."""

import json
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any, Protocol

from penstock.contracts.pools import Limit
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import FailureKind, RunState
from penstock.engine.core.plan import Alignment, Plan, PlanNode, plan_of
from penstock.engine.core.retry import INFRASTRUCTURE_BUDGET
from penstock.engine.dispatcher import SURPLUS
from penstock.engine.limits import BURST_SECONDS
from tests.simulation.pipelines import has_until
from tests.simulation.work import Entry
from tests.simulation.world import EPOCH, LOCAL, World

_ENDED = ("succeeded", "failed", "skipped", "cancelled")


class Findings(Protocol):
    violations: list[str]
    excused: int


class Watch:
    """Looks on while it happens."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.violations: list[str] = []
        self._live: Counter[str] = Counter()
        self._ended_runs: dict[int, tuple[Any, ...]] = {}
        world.database.when_committed = self._look
        world.journal.when_begun = self._begun

    def _say(self, text: str) -> None:
        if len(self.violations) < 10:
            self.violations.append(f"{self._world.loop.time():.3f}: {text}")

    def _look(self) -> None:
        rows = self._world.database.rows
        self._world.trace("commit", *rows("SELECT max(run_no), sum(seq) FROM run"))
        for pool, count in rows("SELECT pool, sum(slots) FROM attempt WHERE state IN ('dispatched', 'running') GROUP BY pool"):
            before, self._live[pool] = self._live[pool], count
            if count > max(before, self._slots(pool) * (1 + SURPLUS)):
                self._say(f"attempts of {count} slots for {self._slots(pool)} slots of {pool}")
        self._look_at_limits()
        for run_no, limit, count in rows(
            "SELECT u.run_no, json_extract(u.options, '$.max_parallel') AS most, count(*) AS live FROM run u "
            "JOIN attempt a ON a.run_no = u.run_no "
            "AND a.state IN ('dispatched', 'running') WHERE u.options LIKE '%max_parallel%' GROUP BY u.run_no HAVING live > most + "
            "(SELECT count(*) FROM attempt l WHERE l.run_no = u.run_no AND l.state = 'superseded')"
        ):
            self._say(f"run {run_no} has {count} attempts at a time, {limit} are allowed")
        for row in rows("SELECT run_no, state, outputs, seq, ended_at FROM run WHERE ended_at IS NOT NULL"):
            if self._ended_runs.setdefault(row[0], row) != row:
                self._say(f"run {row[0]} has changed after it had ended: {row} instead of {self._ended_runs[row[0]]}")

    def _look_at_limits(self) -> None:
        """G17: never more at once than a pool's limit says."""
        for pool in self._world.scenario.pools:
            for limit in pool.limits:
                if limit.at_once is not None:
                    counts = Counter(value for value, *_ in _under(self._world, pool.name, limit, "a.state IN ('dispatched', 'running')"))
                    if any(count > limit.at_once for count in counts.values()):
                        self._say(f"{dict(counts)} attempts, {limit.describe()}")

    def _slots(self, pool: str) -> int:
        """Of everybody whom a coordinator may still believe alive."""
        world = self._world
        since = world.loop.time() - 4 * world.scenario.patience - 20
        members = [m for m in world.members if m.launcher is not None and (m.died_at is None or m.died_at >= since)]
        if pool == LOCAL:
            # A new process counts its own only; what the dead had is closed when it takes their runs over.
            return 2 * len(world.members)
        return sum(member.slots.get(pool, 0) for member in members)

    def _begun(self, entry: Entry) -> None:
        key = entry.attempt
        self._world.trace("execute", entry.runner, key.run_no, key.step_no, key.item_no, key.attempt_no)
        rows = self._world.database.rows(
            "SELECT made_at FROM attempt WHERE run_no = ? AND node = ? AND item = ? AND number = ?",
            key.run_no,
            key.step_no,
            key.item_no,
            key.attempt_no,
        )
        if not rows:
            self._say(f"{key} is executed, and was never committed")


def _under(world: World, pool: str, limit: Limit, condition: str) -> list[tuple[str, int]]:
    """The attempts in a pool that a limit is about, by the value of its tag, with the times at which they were made."""
    plan = plan_of(world.spec)
    found: list[tuple[str, int]] = []
    for node, tags, made_at in world.database.rows(
        "SELECT a.node, json_extract(u.options, '$.given_tags'), a.made_at FROM attempt a "  # noqa: S608 - constants
        f"JOIN run u ON u.run_no = a.run_no WHERE a.pool = ? AND {condition}",
        pool,
    ):
        value = json.loads(tags or "{}").get(limit.key, "") if limit.key is not None else "all"
        if value and limit.step in (None, f"{plan.spec.name}/{_node(plan, node).name}"):
            found.append((value, made_at))
    return found


def outcomes(world: World) -> dict[str, tuple[str, bytes | None]]:
    """How each run has ended."""
    return {row[0]: (row[1], row[2]) for row in world.database.rows("SELECT run_id, state, outputs FROM run")}


def judge(world: World, golden: dict[str, tuple[str, bytes | None]], findings: Findings) -> None:
    """Everything that must hold once all has ended."""
    say = findings.violations.append
    for check in CHECKS:
        for text in check(world):
            say(text)
    _compare(world, golden, findings)


def _node(plan: Plan, number: int) -> PlanNode:
    return plan.nodes[number]


def _step(plan: Plan, number: int) -> StepSpec:
    """The node of an attempt."""
    spec = plan.nodes[number].spec
    assert isinstance(spec, StepSpec)
    return spec


def _leftovers(world: World) -> list[str]:
    rows = world.database.rows
    return [
        f"{count} {what} are left over: {rows(f'SELECT * FROM {table} LIMIT 3')}"  # noqa: S608 - constants
        for what, table in (
            ("live attempts", "attempt WHERE state IN ('dispatched', 'running')"),
            ("ready rows", "ready"),
            ("timers", "timer"),
            ("flights", "flight"),
            ("unended step runs", "step_run WHERE state NOT IN ('succeeded', 'failed', 'skipped', 'cancelled')"),
        )
        if (count := rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 - constants
    ]


def _runs_have_ended(world: World) -> list[str]:
    found: list[str] = []
    for run in world.scenario.runs:
        rows = world.database.rows("SELECT state, open, error, seq, stop FROM run WHERE run_id = ?", run.run_id)
        if not rows:
            found.append(f"run {run.run_id} was never made")
            continue
        state, still_open, error, _, _ = rows[0]
        if not RunState(state).is_terminal or still_open != 0:
            found.append(f"run {run.run_id} is {state} with {still_open} open step runs")
        if error is not None and error.startswith("internal error"):
            found.append(f"run {run.run_id} was put aside: {error}")
        if state == "cancelled" and run.cancel_after is None:
            found.append(f"run {run.run_id} is cancelled, which nobody asked for")
    return found


def _timelines(world: World) -> list[str]:
    """Gap-free; nothing goes backward but what is made again; nothing comes after the end."""
    found: list[str] = []
    for run_no, seq, state in world.database.rows("SELECT run_no, seq, state FROM run"):
        lines = world.database.rows("SELECT seq, at, type, node, item, attempt FROM timeline WHERE run_no = ? ORDER BY seq", run_no)
        if [line[0] for line in lines] != list(range(1, seq + 1)):
            found.append(f"the timeline of run {run_no} has gaps")
        if any(before[1] > after[1] for before, after in pairwise(lines)):
            found.append(f"the timeline of run {run_no} goes back in time")
        if lines and lines[-1][2] != f"run.{state}":
            found.append(f"the timeline of run {run_no} ends with {lines[-1][2]}, the run is {state}")
        ended: dict[tuple[int, int], str] = {}
        for _, _, kind, node, item, _ in lines:
            if kind == "step.recomputed":
                ended.pop((node, item), None)
            elif kind.removeprefix("step.") in _ENDED:
                if (node, item) in ended:
                    found.append(f"{node}/{item} of run {run_no} ended twice: {ended[node, item]}, then {kind}")
                ended[node, item] = kind
    return found


def _attempts(world: World) -> list[str]:
    """One winner a success; no more attempts than failures and losses explain; budgets hold."""
    found: list[str] = []
    attempts: dict[tuple[int, int, int], list[str]] = defaultdict(list)
    for run_no, node, item, state in world.database.rows(
        "SELECT run_no, node, item, state FROM attempt ORDER BY run_no, node, item, number"
    ):
        attempts[run_no, node, item].append(state)
    recomputed = _recomputed(world)
    plan = plan_of(world.spec)
    for run_no, node, item, state, count, failures, losses, hit_run in world.database.rows(
        "SELECT run_no, node, item, state, attempts, failures, losses, hit_run FROM step_run"
    ):
        place = (run_no, node, item)
        states = attempts.pop(place, [])
        name = f"{_node(plan, node).name}/{item} of run {run_no}"
        if len(states) != count:
            found.append(f"{name} counts {count} attempts and has {states}")
        winners = states.count("succeeded")
        spec = _node(plan, node).spec
        # Where there is more memory to be had, it is given once whatever the policy says.
        limit = (spec.retries.limit if isinstance(spec, StepSpec) else 0) + bool(world.scenario.pools)
        expected = isinstance(spec, StepSpec) and spec.is_dispatched and state == "succeeded" and hit_run is None
        if expected and winners < 1:
            found.append(f"{name} succeeded without an attempt that did: {states}")
        if winners > 1 + recomputed[place] or (winners and state not in ("succeeded", "cancelled") and not recomputed[place]):
            found.append(f"{name} is {state} with {winners} successful attempts: {states}")
        if failures > 1 + limit:
            found.append(f"{name} failed {failures} times")
        if states.count("failed") != failures and state != "cancelled":
            found.append(f"{name} counts {failures} failures and has {states}")
        if losses > INFRASTRUCTURE_BUDGET + 1:
            found.append(f"{name} was lost {losses} times")
    found += [f"{place} has attempts and no step run" for place in attempts]
    return found


def _winners(world: World) -> list[str]:
    """Whatever counts as a success was executed to its end."""
    done = {entry.key for entry in world.journal.entries if entry.outcome == "succeeded"}
    found: list[str] = []
    for run_no, node, item, number in world.database.rows("SELECT run_no, node, item, number FROM attempt WHERE state = 'succeeded'"):
        if (run_no, node, item, number) not in done:
            found.append(f"attempt {number} of {node}/{item} of run {run_no} counts as a success, and was never executed to its end")
    return found


def _losses(world: World) -> list[str]:
    """Nobody who could be heard all the time is taken for dead."""
    faults, patience = world.scenario.bus, world.scenario.patience
    if faults.dropped or world.reports_lost or faults.late_seconds * bool(faults.late) + world.scenario.heartbeat > patience / 2:
        return []
    stopped = {run_no for (run_no,) in world.database.rows("SELECT run_no FROM run WHERE stop IS NOT NULL")}
    ends = {entry.key: entry for entry in world.journal.entries if entry.outcome in ("succeeded", "failed")}
    found: list[str] = []
    for run_no, node, item, number in world.database.rows(
        "SELECT run_no, node, item, attempt FROM timeline WHERE type = 'attempt.lost' AND data LIKE '%runner is gone%'"
    ):
        entry = ends.get((run_no, node, item, number))
        if entry is not None and entry.runner not in world.suspects and run_no not in stopped:
            found.append(f"{entry.attempt} was taken for lost, and {entry.runner} was well")
    return found


def _backoffs(world: World) -> list[str]:
    """A retry comes no earlier than its policy says."""
    plan = plan_of(world.spec)
    found: list[str] = []
    for run_no, node, item, failed_at, again_at in world.database.rows(
        "SELECT a.run_no, a.node, a.item, a.ended_at, b.made_at FROM attempt a JOIN attempt b ON b.run_no = a.run_no AND b.node = a.node "
        "AND b.item = a.item AND b.number = a.number + 1 WHERE a.state = 'failed'"
    ):
        policy = _step(plan, node).retries
        if again_at - failed_at < policy.delay_seconds * (1 - policy.jitter) * 1_000_000 - 1:
            found.append(f"{_node(plan, node).name}/{item} of run {run_no} was tried again after {(again_at - failed_at) / 1e6} s")
    return found


def _recomputed(world: World) -> Counter[tuple[int, int, int]]:
    rows = world.database.rows("SELECT run_no, node, item FROM timeline WHERE type = 'step.recomputed'")
    return Counter((run_no, node, item) for run_no, node, item in rows)


def _executions(world: World) -> list[str]:
    """Every execution has its own attempt; what may not run twice does not."""
    found: list[str] = []
    by_attempt = Counter(entry.key for entry in world.journal.entries)
    found += [f"{attempt} was executed {count} times" for attempt, count in by_attempt.items() if count > 1]
    careful: dict[tuple[int, int, int], list[Entry]] = defaultdict(list)
    for entry in world.journal.entries:
        if not entry.step.idempotent:
            careful[entry.attempt.run_no, entry.attempt.step_no, entry.attempt.item_no].append(entry)
    for place, entries in careful.items():
        # A failure that was told is retried by the user's own policy; a lost input comes before anything was executed.
        begun = [entry for entry in entries if entry.outcome not in ("failed", "input_lost")]
        if len(begun) > 1 + _recomputed(world)[place]:
            found.append(f"{place} may not run twice, and was executed {len(begun)} times: {[entry.outcome for entry in entries]}")
    return found


def _order_of_execution(world: World) -> list[str]:
    """Nothing is executed before everything that it depends on has ended."""
    plan = plan_of(world.spec)
    ended = {tuple(row[:3]): row[3] for row in world.database.rows("SELECT run_no, node, item, ended_at FROM step_run")}
    parents = {tuple(row[:3]): row[3] for row in world.database.rows("SELECT run_no, node, item, parent_item FROM step_run")}
    redone = {place[0] for place in _recomputed(world)}
    found: list[str] = []
    for entry in world.journal.entries:
        key = entry.attempt
        if key.run_no in redone or key.step_no >= len(plan.spec.nodes):
            continue
        at = (key.run_no, key.step_no, key.item_no)
        for edge in plan.nodes[key.step_no].edges_in:
            place = _parent_place(plan, edge.parent, edge.alignment, at, parents)
            if place is None:
                continue
            moment = ended.get(place)
            if moment is None or moment > EPOCH + int(entry.began_at * 1_000_000):
                found.append(f"{entry.step.name}/{key.item_no} was executed before {plan.nodes[edge.parent].name} had ended")
    return found


def _parent_place(
    plan: Plan, parent: int, alignment: Alignment, at: tuple[int, int, int], parents: dict[tuple[int, ...], int]
) -> tuple[int, int, int] | None:
    run_no, node, item = at
    if alignment is Alignment.SAME:
        return (run_no, parent, item)
    depth = len(plan.nodes[node].chain) - len(plan.nodes[parent].chain)
    if len(plan.nodes[parent].chain) == 0:
        return (run_no, parent, 0)
    return (run_no, parent, parents[at]) if depth == 1 else None


def _capacity(world: World) -> list[str]:
    """No runner executes more at a time than it has slots."""
    slots = {member.party.name: sum(member.slots.values()) for member in world.members}
    moments: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for entry in world.journal.entries:
        if entry.ended_at is not None:
            moments[entry.runner] += [(entry.began_at, entry.order.slots), (entry.ended_at, -entry.order.slots)]
    found: list[str] = []
    for runner, changes in moments.items():
        executing = 0
        for _, change in sorted(changes):
            executing += change
            if executing > slots[runner]:
                found.append(f"{runner} executes steps of {executing} slots in {slots[runner]} slots")
                break
    return found


def _services(world: World) -> list[str]:
    """Steps are served by those alone who announced them, as long as one of them has the code."""
    announced = {(service.step, service.code) for planned in world.scenario.services for service in planned.services}
    serving = {member.party.name: member.served for member in world.members if member.served is not None}
    found: list[str] = []
    for entry in world.journal.entries:
        if (served := serving.get(entry.runner)) is None:
            continue
        if entry.step.name not in {service.step for service in served.services}:
            found.append(f"{entry.runner} executed {entry.step.name}, which it does not serve")
        elif not {(entry.step.name, ""), (entry.step.name, entry.step.code.digest)} & announced:
            found.append(f"{entry.runner} executed {entry.step.name}, of which nobody serves that code")
    return found


def _rates(world: World) -> list[str]:
    """In any span of time no more was given out than a rate lets through, and what may begin together."""
    found: list[str] = []
    for pool in world.scenario.pools:
        for limit in pool.limits:
            if limit.per_second is None:
                continue
            times: dict[str, list[int]] = defaultdict(list)
            # What was superseded went on in another attempt that nobody dispatched: it was sent as it was made.
            for value, made_at in _under(world, pool.name, limit, "(a.sent_at IS NULL OR a.sent_at <> a.made_at)"):
                times[value].append(made_at)
            found += [f"{limit.describe()}: {text}" for made in times.values() if (text := _too_fast(sorted(made), limit.per_second))]
    return found


def _too_fast(made: list[int], rate: float) -> str:
    burst = max(1.0, rate * BURST_SECONDS)
    for first, begin in enumerate(made):
        for last in range(first + 1, len(made)):
            allowed = burst + rate * (made[last] - begin) / 1_000_000
            if last - first + 1 > allowed + 1e-3:
                return f"{last - first + 1} in {(made[last] - begin) / 1e6} s"
    return ""


def _stops(world: World) -> list[str]:
    """Once it is committed that a run stops, nothing new is given out for it."""
    plan = plan_of(world.spec)
    return [
        f"{_node(plan, node).name}/{item} of run {run_no} was given out after its run had been stopped"
        for run_no, node, item in world.database.rows(
            "SELECT a.run_no, a.node, a.item FROM attempt a JOIN timeline t ON t.run_no = a.run_no AND t.type = 'run.stopping' "
            "WHERE a.made_at > t.at AND a.node < ? AND a.state NOT IN ('superseded')",
            len(plan.spec.nodes),
        )
    ]


def _compare(world: World, golden: dict[str, tuple[str, bytes | None]], findings: Findings) -> None:
    """The outputs are those of a run without faults, unless the faults are the reason that is given."""
    actual = outcomes(world)
    for run in world.scenario.runs:
        if run.cancel_after is not None or run.options.timeout_seconds is not None or run.run_id not in actual:
            continue
        if actual[run.run_id] == golden[run.run_id] or has_until(world.scenario.spec):
            continue
        if any(failed[0] == run.run_id for failed in environment_failures(world)):
            findings.excused += 1
            continue
        findings.violations.append(f"run {run.run_id} ended {actual[run.run_id]}, without faults it ends {golden[run.run_id]}")


def environment_failures(world: World) -> list[tuple[str, int, int, str]]:
    """Step runs that failed for a reason that lies outside of the user's code."""
    rows = world.database.rows(
        "SELECT u.run_id, s.node, s.item, s.failure FROM step_run s JOIN run u ON u.run_no = s.run_no "
        "WHERE s.failure IS NOT NULL AND s.state = 'failed'"
    )
    told = [(run_id, node, item, json.loads(failure)) for run_id, node, item, failure in rows]
    return [(run_id, node, item, text["message"]) for run_id, node, item, text in told if text["kind"] == FailureKind.ENVIRONMENT.value]


CHECKS = (
    _leftovers,
    _runs_have_ended,
    _timelines,
    _attempts,
    _winners,
    _losses,
    _backoffs,
    _executions,
    _order_of_execution,
    _capacity,
    _services,
    _rates,
    _stops,
)
